"""What tells a good automatic mask from a bad one, besides the model's own score."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from samft.prompts.sampling import pixel_counts

EDGE_TOLERANCE: Final = 20.0
"""Pixels within which a mask counts as touching an edge."""


def stability_scores(logits: Tensor, *, threshold: float, offset: float) -> Tensor:
    """Return how little masks change with the threshold, (K,) float32, 0 to 1.

    The IoU of the masks at `threshold + offset` and `threshold - offset`, the first of which lies
    within the second. A mask that is empty at both has 0.

    Args:
        logits: (K, H, W) float.
        threshold: Logit above which a pixel belongs to the object.
        offset: Logits above and below.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 4 and appendix B.
    """
    inner = pixel_counts(logits > threshold + offset)
    outer = pixel_counts(logits > threshold - offset)
    return inner / outer.clamp(min=1)


def near_crop_edge(
    boxes: Tensor, crop_box: tuple[int, int, int, int], size: tuple[int, int]
) -> Tensor:
    """Return (K,) bool: boxes at an edge of the crop that is no edge of the image.

    Such an object probably goes on outside the crop.

    Args:
        boxes: (K, 4) float xyxy, pixels of the image.
        crop_box: xyxy of the crop.
        size: (height, width) of the image.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix B "Cropping"; the tolerance is that of
        the released generator.
    """
    height, width = size
    image_box = boxes.new_tensor([0, 0, width, height])
    at_crop = (boxes - boxes.new_tensor(crop_box)).abs() <= EDGE_TOLERANCE
    at_image = (boxes - image_box).abs() <= EDGE_TOLERANCE
    return torch.any(at_crop & ~at_image, dim=1)
