"""Label images that are too large to be kept: read part by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samft.data.objects import ObjectMode, Objects
from samft.data.readers.image_window import read_label_window
from samft.data.records import Window
from samft.data.truth import Truth


@dataclass(frozen=True, kw_only=True, slots=True)
class LargeMask:
    """A flat label image of which no more is decoded than is asked for.

    Args:
        path: The file.
        size: (H, W).
        understand: Makes something known of label layers (1, h, w), a part of the image.
    """

    path: Path
    size: tuple[int, int]
    understand: Callable[[NDArray[Any]], Truth]

    @property
    def nbytes(self) -> int:
        """See `samft.data.truth.Truth`; nothing is kept."""
        return 0

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`."""
        assert at is None  # flat images only
        part = read_label_window(self.path, window or (0, 0, *self.size))
        return self.understand(part[None]).objects(mode)
