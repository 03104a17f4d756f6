"""Settings of volumes: how slices are linked, and how far a prompt is carried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from samft.errors import ConfigError
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkSettings(Settings):
    """What makes masks of two slices the same object.

    Nothing depends on the distance between slices, so volumes need no spacing.

    Args:
        link_iou: IoU of two masks from which they may be the same object. The ends of a ball
            shrink fast: to a third from its last slice but one to its last.
        max_gap: Slices in which an object may be missed; they are filled in by interpolation.
        min_visible: Share of its pixels that a mask must have for itself in its slice, with those
            of more confident ones taken away.
        min_voxels: Objects of fewer voxels are dropped; 0 for none.
        min_slices: Objects seen in fewer slices are dropped.
    """

    section: ClassVar[str] = "links"

    link_iou: float = 0.3
    max_gap: int = 1
    min_visible: float = 0.5
    min_voxels: int = 0
    min_slices: int = 1

    def _check_ranges(self) -> None:
        self._require("link_iou", low=0.01, high=1)
        self._require("max_gap", low=0, high=64)
        self._require("min_visible", low=0, high=1)
        self._require("min_voxels", low=0)
        self._require("min_slices", low=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class PropagationSettings(Settings):
    """What the next slice is asked with, and when an object has ended.

    Args:
        use_box: Ask with the box of the previous mask.
        box_margin: How far the box is widened on every side, as a share of its sides.
        use_mask: Ask with the logits of the previous mask.
        use_point: Ask with the innermost pixel of the previous mask.
        min_score: Predicted IoU below which an object ends.
        min_overlap: IoU with the previous mask below which an object ends.
        max_area_change: Ratio of the areas of neighbouring masks above which an object ends, in
            either direction.
        max_slices: Most slices to either side of the prompted one; 0 for no limit.
    """

    section: ClassVar[str] = "propagation"

    use_box: bool = True
    box_margin: float = 0.05
    use_mask: bool = True
    use_point: bool = False
    min_score: float = 0.5
    min_overlap: float = 0.2
    max_area_change: float = 3.0
    max_slices: int = 0

    def _check_ranges(self) -> None:
        self._require("box_margin", low=0, high=2)
        self._require("min_score", low=-10, high=1)
        self._require("min_overlap", low=0, high=1)
        self._require("max_area_change", low=1)
        self._require("max_slices", low=0)
        if not (self.use_box or self.use_mask or self.use_point):
            raise ConfigError(
                "the next slice would be asked nothing",
                where=f"{self.section}.use_box",
                expected="one of use_box, use_mask and use_point",
            )
