"""Simulated mask prompts: a wrong mask to be corrected, and the rough outline of a lasso.

SAM's mask prompt is the logits of an earlier prediction, not a mask: zeros and ones, or
probabilities, given in their place are read as "undecided everywhere" and often lead to empty
answers. `masks_to_logits` is the one place where a binary mask becomes a prompt.

A prompt has one logit per `stride` pixels of the input: four logits per cell of the image embedding
along each side, so `stride` is a quarter of the model's patch size: 4 for SAM's patches of 16
pixels, 2 for patches of 8. It is the same for windows of the input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.errors import ConfigError
from samft.prompts.sampling import pixel_counts, sample_many
from samft.types import PromptBatch

LOGIT: Final = 10.0
"""Absolute logit of a binary mask's cells; a probability of 0.99995.

Source: SAM 2's predictor maps binary masks to -10 and 10.
"""

_OBJECTS_AT_ONCE = 8
_HOLES = 2
_VERTICES = 48
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class WrongMask:
    """The object's mask as somebody else might have drawn it: moved, too small or large, holed.

    A `PromptSimulator`. Sizes are shares of the object's own size, the square root of its area. A
    mask of which nothing would be left is given undamaged.

    Args:
        stride: Pixels of the input per logit; a quarter of the model's patch size.
        damage: Largest shift along each axis, and largest erosion or dilation; holes have up to
            twice this radius.
    """

    stride: int = 4
    damage: float = 0.1

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        clean = shrink_masks(masks, self.stride)
        reach = self.damage * pixel_counts(clean).float().sqrt()
        draw = 2 * torch.rand((len(masks), 3), generator=generator, device=masks.device) - 1
        shift = (draw * reach[:, None]).round().long()
        wrong = _resized(_moved(clean, shift[:, :2]), shift[:, 2])
        wrong &= ~_discs(wrong, 2 * reach, generator=generator)
        nothing = ~wrong.flatten(1).any(dim=1)
        wrong = torch.where(nothing[:, None, None], clean, wrong)
        return _mask_prompts(image_index, wrong)


@dataclass(frozen=True)
class Lasso:
    """A loose outline drawn around the object, as the mask of what it encloses.

    A `PromptSimulator`. SAM has no token for an outline; what lies inside it goes in as a mask
    prompt. The outline goes once around the object's centre of mass and encloses all of it.

    Args:
        stride: Pixels of the input per logit; a quarter of the model's patch size.
        slack: Largest distance of the outline from the object, as a share of the distance from the
            centre.
    """

    stride: int = 4
    slack: float = 0.1

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        clean = shrink_masks(masks, self.stride)
        draw = torch.rand((len(masks), _VERTICES), generator=generator, device=masks.device)
        factor = 1 + self.slack * draw
        pairs = zip(
            torch.split(clean, _OBJECTS_AT_ONCE),
            torch.split(factor, _OBJECTS_AT_ONCE),
            strict=True,
        )
        return _mask_prompts(image_index, torch.cat([_enclosed(*pair) for pair in pairs]))


def masks_to_logits(masks: Tensor) -> Tensor:
    """Turn binary masks into a mask prompt: `LOGIT` on the object, `-LOGIT` elsewhere.

    Args:
        masks: (P, s, s) bool, one value per logit; `shrink_masks` makes them.

    Returns:
        (P, 1, s, s) float32.
    """
    return torch.where(masks, LOGIT, -LOGIT)[:, None]


def shrink_masks(masks: Tensor, stride: int) -> Tensor:
    """Bring masks to the resolution of logits.

    A cell belongs to the object if half of its pixels do; for an object that has no such cell, if
    any pixel does, so that no object vanishes.

    Args:
        masks: (P, S, S) bool.
        stride: Pixels per cell.

    Returns:
        (P, S / stride, S / stride) bool.

    Raises:
        ConfigError: if a side of the masks is not a multiple of `stride`.
    """
    height, width = masks.shape[-2:]
    if stride < 1 or height % stride or width % stride:
        raise ConfigError(
            "masks cannot be brought to the resolution of mask prompts",
            found=f"{height} x {width} pixels, {stride} per logit",
            expected="sides that are multiples of the pixels per logit",
        )
    chunks = torch.split(masks, _OBJECTS_AT_ONCE)
    share = torch.cat([F.avg_pool2d(chunk[:, None].float(), stride)[:, 0] for chunk in chunks])
    half = share >= 0.5
    nothing = ~half.flatten(1).any(dim=1)
    return torch.where(nothing[:, None, None], share > 0, half)


def _mask_prompts(image_index: Tensor, masks: Tensor) -> PromptBatch:
    return PromptBatch(
        image_index=image_index,
        mask_logits=masks_to_logits(masks),
        has_mask=masks.flatten(1).any(dim=1),
    )


def _moved(masks: Tensor, shift: Tensor) -> Tensor:
    """Return (P, s, s) bool masks moved by (P, 2) int64 `(x, y)` cells; what leaves is lost."""
    x, y = (
        torch.arange(masks.shape[-1 - axis], device=masks.device) - shift[:, axis, None]
        for axis in (0, 1)
    )
    columns, rows = (x >= 0) & (x < masks.shape[-1]), (y >= 0) & (y < masks.shape[-2])
    x, y = x.clamp(0, masks.shape[-1] - 1), y.clamp(0, masks.shape[-2] - 1)
    objects = torch.arange(len(masks), device=masks.device)
    moved = masks[objects[:, None, None], y[:, :, None], x[:, None, :]]
    return moved & rows[:, :, None] & columns[:, None, :]


def _resized(masks: Tensor, cells: Tensor) -> Tensor:
    """Return (P, s, s) bool masks dilated by (P,) int64 cells, or eroded where it is negative."""
    sign = torch.where(cells < 0, -1.0, 1.0)[:, None, None]
    # Eroding is dilating the background; beyond the frame counts as neither.
    field = torch.where(masks, 1.0, -1.0) * sign
    for done in range(int(cells.abs().max()) if len(cells) else 0):
        grown = F.max_pool2d(field[:, None], 3, stride=1, padding=1)[:, 0]
        field = torch.where((cells.abs() > done)[:, None, None], grown, field)
    return field * sign > 0


def _discs(masks: Tensor, radius: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return (P, s, s) bool: discs about random cells of the masks, of at most (P,) `radius`."""
    centres, _ = sample_many(masks, _HOLES, generator=generator)
    draw = torch.rand((len(masks), _HOLES), generator=generator, device=masks.device)
    limits = (radius[:, None] * draw).square()
    lines = [torch.arange(masks.shape[axis], device=masks.device) for axis in (-1, -2)]
    inside = torch.zeros_like(masks)
    for hole in range(_HOLES):
        dx, dy = ((line - centres[:, hole, axis, None]).square() for axis, line in enumerate(lines))
        inside |= dy[:, :, None] + dx[:, None, :] < limits[:, hole, None, None]
    return inside


def _enclosed(masks: Tensor, factor: Tensor) -> Tensor:
    """Return what an outline around each object encloses.

    Args:
        masks: (P, s, s) bool.
        factor: (P, V), how far from the object each corner of the outline lies, 1 or more.

    Returns:
        (P, s, s) bool, a superset of `masks`; empty where these are.
    """
    corners = factor.shape[1]
    rows, columns = (
        torch.arange(length, device=masks.device, dtype=torch.float32)
        for length in masks.shape[-2:]
    )
    area = pixel_counts(masks).clamp(min=1)
    dx = (columns - ((masks.sum(dim=1) * columns).sum(dim=1) / area)[:, None])[:, None, :]
    dy = (rows - ((masks.sum(dim=2) * rows).sum(dim=1) / area)[:, None])[:, :, None]
    distance = torch.hypot(dx, dy).flatten(1)
    place = (torch.atan2(dy, dx).flatten(1) / (2 * math.pi) + 0.5) * corners
    sector = place.long() % corners
    inside = masks.flatten(1)
    reach = torch.zeros_like(factor).scatter_reduce(1, sector, distance * inside, "amax")
    # A corner reaches as far as the sectors beside it, so that the line between two corners does
    # not cut the object.
    wide = F.max_pool1d(F.pad(reach[:, None], (1, 1), mode="circular"), 3, stride=1)[:, 0] * factor
    before = (place - 0.5).floor()
    weight = place - 0.5 - before
    first = before.long() % corners
    outline = torch.lerp(wide.gather(1, first), wide.gather(1, (first + 1) % corners), weight)
    found = inside.any(dim=1, keepdim=True)
    return ((distance <= outline + _TOLERANCE) & found).view_as(masks)
