"""Settings of automatic mask generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from samft.errors import ConfigError
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class AutomaticMaskSettings(Settings):
    """Where to ask, and which answers to keep.

    The defaults are those of the official generator, made for the released ViT-H. The settings of
    SA-1B are `crop_n_layers=2, crop_n_points_downscale_factor=2, min_mask_region_area=100,
    max_mask_area_fraction=0.95`.

    Args:
        points_per_side: Points along each side of the grid; each is one prompt.
        points_per_batch: Most prompts decoded at once; bounds memory, does not change the
            result. A CPU takes fewer at a time.
        pred_iou_thresh: Predicted IoU that a mask must exceed; 0 or less for none.
        stability_score_thresh: Stability that a mask must reach, 0 to 1; 0 for none.
        stability_score_offset: Logits by which the threshold is moved to measure stability.
        box_nms_thresh: IoU of boxes above which the less confident mask of a crop is dropped.
        crop_n_layers: Layers of crops that are looked at besides the whole image: 2 x 2 crops in
            the first, 4 x 4 in the second.
        crop_nms_thresh: IoU of boxes above which the mask of the larger of two crops is dropped.
        crop_overlap_ratio: Overlap of the first layer's crops, as a share of the short side.
        crop_n_points_downscale_factor: How many times fewer points along each side every layer
            has than the one before.
        mask_nms_thresh: With candidates instead of a grid: IoU of masks above which the less
            confident one is dropped.
        min_mask_region_area: Holes and islands of fewer pixels are removed; 0 for none.
        max_mask_area_fraction: Masks that cover this share of the image, or more, are dropped;
            1 for none.
        output_mode: The form of a record's `segmentation`.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 4 and appendix B.
    """

    section: ClassVar[str] = "automatic"

    points_per_side: int = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    mask_nms_thresh: float = 0.7
    min_mask_region_area: int = 0
    max_mask_area_fraction: float = 1.0
    output_mode: Literal["binary_mask", "uncompressed_rle", "coco_rle"] = "binary_mask"

    def _check_ranges(self) -> None:
        self._require("points_per_side", low=1)
        self._require("points_per_batch", low=1)
        self._require("pred_iou_thresh", low=-10, high=1)
        self._require("stability_score_thresh", low=0, high=1)
        self._require("stability_score_offset", low=0)
        for name in ("box_nms_thresh", "crop_nms_thresh", "mask_nms_thresh"):
            self._require(name, low=0, high=1)
        self._require("crop_n_layers", low=0, high=6)
        self._require("crop_overlap_ratio", low=0, high=0.9)
        self._require("crop_n_points_downscale_factor", low=1)
        self._require("min_mask_region_area", low=0)
        self._require("max_mask_area_fraction", low=1e-6, high=1)
        if self.crop_n_points_downscale_factor**self.crop_n_layers > self.points_per_side:
            raise ConfigError(
                "the last layer of crops has no points",
                where=f"{self.section}.crop_n_points_downscale_factor",
                found=f"{self.points_per_side} points per side, "
                f"{self.crop_n_layers} layers with {self.crop_n_points_downscale_factor} times "
                "fewer each",
                expected="at least 1 point per side in every layer",
            )
