"""What can be set of the augmentation besides its presets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationSettings(Settings):
    """Ranges of the presets `lsj` and `foreground_crop`.

    Args:
        lsj_low: Smallest scale of `lsj`; at 1 the longest side of an image fills the model's input.
        lsj_high: Largest scale of `lsj`.
        crop_by: Whether a window of `foreground_crop` is as large as its object demands, or always
            of `crop_side`.
        crop_factor: Side of the window relative to the longer side of the object; half to twice of
            it is drawn. A window is never smaller than a quarter of the model's input.
        crop_side: Side of the window, pixels of the image, with `crop_by` side.
        crop_share: Share of the windows that are around an object; others lie anywhere.
    """

    section: ClassVar[str] = "data.augmentation"

    lsj_low: float = 0.1
    lsj_high: float = 2.0
    crop_by: Literal["object", "side"] = "object"
    crop_factor: float = 4.0
    crop_side: int = 512
    crop_share: float = 0.75

    def _check_ranges(self) -> None:
        self._require("lsj_low", low=0.01, high=10)
        self._require("lsj_high", low=self.lsj_low, high=10)
        self._require("crop_factor", low=1)
        self._require("crop_side", low=16)
        self._require("crop_share", low=0, high=1)
