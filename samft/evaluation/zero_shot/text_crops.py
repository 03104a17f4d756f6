"""Crops of objects, for encoders that put images and texts into one space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.errors import ConfigError
from samft.prompts.sampling import tight_boxes

CROP_SIDE = 336
"""Side of a crop in the paper, pixels: what CLIP ViT-L/14@336 takes."""
PATCH_SIDE = 14
"""Side of that encoder's patches, pixels."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crop:
    """What an encoder is shown of an object.

    Args:
        image: (3, side, side) float32, 0 to 255, RGB; black where the crop reaches out of the
            image.
        inside: (side / patch, side / patch) bool, the patches that the object touches: the only
            ones to be attended to in the last layer.
        square: (left, top, side) of the crop in the original frame, pixels, its outer edges.
    """

    image: Tensor
    inside: Tensor
    square: tuple[float, float, float]


def object_crop(
    image: Tensor,
    mask: Tensor,
    *,
    generator: torch.Generator,
    side: int = CROP_SIDE,
    patch: int = PATCH_SIDE,
    widen: float = 2.0,
    zero_outside: float = 0.5,
) -> Crop:
    """Cut an object out: its tight box, wider by a random factor, made square.

    Args:
        image: (3, H, W) RGB, 0 to 255.
        mask: (H, W) bool, the object; at least one pixel.
        generator: Of the factor and the draw, on the CPU.
        side: Of the crop, pixels.
        patch: Side of the encoder's patches, pixels; divides `side`.
        widen: The factor is drawn from 1 to this.
        zero_outside: Chance that everything but the object is black.

    Raises:
        ConfigError: if the sides do not fit together, or the object has no pixel.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix D.5 "Training".
    """
    if patch < 1 or side < patch or side % patch:
        raise ConfigError(
            "the crop is no whole number of patches",
            found=f"side {side}, patch {patch}",
            expected="a multiple",
        )
    boxes, found = tight_boxes(mask[None])
    if not bool(found):
        raise ConfigError("an object without a pixel cannot be cut out")
    factor = 1 + (widen - 1) * float(torch.rand((), generator=generator))
    alone = float(torch.rand((), generator=generator)) < zero_outside
    x0, y0, x1, y1 = boxes[0].tolist()
    length = factor * max(x1 - x0 + 1, y1 - y0 + 1)
    square = ((x0 + x1 + 1 - length) / 2, (y0 + y1 + 1 - length) / 2, length)
    pixels = torch.where(mask, image.float(), 0.0) if alone else image.float()
    covered = _resampled(mask[None].float(), square, side)
    return Crop(
        image=_resampled(pixels, square, side),
        inside=F.max_pool2d(covered[None], patch)[0, 0] > 0,
        square=square,
    )


def _resampled(image: Tensor, square: tuple[float, float, float], side: int) -> Tensor:
    """Return (C, side, side): the square of (C, H, W), bilinear, antialiased, 0 outside."""
    left, top, length = square
    height, width = image.shape[-2:]
    # The whole pixels around the square, then the grid of the crop in them.
    x0, y0 = int(left // 1), int(top // 1)
    reach = int(-((-length - 1) // 1)) + 1
    window = F.pad(image, _margins(x0, y0, reach, width, height))
    window = window[:, max(y0, 0) :, max(x0, 0) :][:, :reach, :reach]
    scale = max(1.0, length / side)
    if scale > 1:  # shrink first, which averages; sampling alone would skip pixels
        small = max(1, round(reach / scale))
        window = F.interpolate(
            window[None], size=(small, small), mode="bilinear", antialias=True, align_corners=False
        )[0]
    steps = (torch.arange(side) + 0.5) * (length / side)
    x = (steps + (left - x0)) / reach * 2 - 1
    y = (steps + (top - y0)) / reach * 2 - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)[None]
    return F.grid_sample(
        window[None], grid.to(window), mode="bilinear", padding_mode="border", align_corners=False
    )[0]


def _margins(x0: int, y0: int, reach: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Return the padding (left, right, top, bottom) with which a window lies in the image."""
    return (
        max(0, -x0),
        max(0, x0 + reach - width),
        max(0, -y0),
        max(0, y0 + reach - height),
    )
