"""An image in a row of a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samft.data.preprocessing import Preprocessing
from samft.data.readers.image import probe_image
from samft.data.sources import Source


class RowSource(Source):
    """A flat image that is stored inside another file.

    Args:
        name: Identifier.
        files: The file that holds it, with many others.
        image: Gives the image a file of its own, for a `with` block.
        preprocessing: As in training.
    """

    def __init__(
        self,
        name: str,
        files: tuple[Path, ...],
        image: Callable[[], AbstractContextManager[Path]],
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__(name, files)
        self.image = image
        self.preprocessing = preprocessing

    @property
    def space(self) -> None:
        """A picture has none."""
        return

    def size(self, index: int) -> tuple[int, int]:  # noqa: ARG002  # there is one
        """See `Source`."""
        with self.image() as path:
            return probe_image(path, every_channel=self.preprocessing.channels is not None)

    def picture(self, index: int) -> NDArray[Any]:  # noqa: ARG002  # there is one
        """See `Source`."""
        with self.image() as path:
            return self.preprocessing.picture((path,))

    def digest(self) -> str:
        """See `Source`; of this image alone."""
        with self.image() as path, path.open("rb") as file:
            first = hashlib.file_digest(file, "blake2b").digest()
        return hashlib.blake2b(first, digest_size=16).hexdigest()
