"""A flat image whose pixel size stands somewhere else than in its file."""

from __future__ import annotations

from pathlib import Path

from samft.data.preprocessing import Preprocessing
from samft.data.sources import PictureSource


class MeasuredPicture(PictureSource):
    """A flat image of which the pixel size is known.

    Args:
        name: Identifier.
        files: The file, or the files.
        preprocessing: As in training.
        spacing_mm: Pixel size (y, x).
    """

    def __init__(
        self,
        name: str,
        files: tuple[Path, ...],
        preprocessing: Preprocessing,
        *,
        spacing_mm: tuple[float, float],
    ) -> None:
        super().__init__(name, files, preprocessing)
        self._spacing_mm = spacing_mm

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """See `Source`."""
        return self._spacing_mm
