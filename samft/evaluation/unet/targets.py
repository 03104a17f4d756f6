"""What a U-Net is to learn from objects: a mask per class, and borders between touching ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.types import IGNORE, NO_CLASS, SamBatch, Sample

_NOTHING = -2  # class of background
_FAR = 2.0**24  # above every object's number, exact in float32


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UNetTargets:
    """The truth of B images, pixel by pixel.

    Args:
        masks: (B, classes, h, w) bool.
        border: (B, 1, h, w) bool.
        valid: (B, 1, h, w) bool, False where the truth is unknown and in the padding.
    """

    masks: Tensor
    border: Tensor
    valid: Tensor


def batch_targets(batch: SamBatch, *, num_classes: int, border_px: int) -> UNetTargets:
    """Return what is to be learnt from a batch, in its input frame.

    Pixels of objects that belong to no class, and those that any label layer ignores, are not
    valid.

    Args:
        batch: B images with their objects.
        num_classes: Classes of the data.
        border_px: See `touching`.
    """
    numbers = batch.object_value.long()
    # Values of objects that have no pixel left are in no layer.
    highest = int(torch.cat([numbers, batch.layers.amax().long()[None]]).max())
    table = batch.layers.new_full((len(batch.frames), max(highest, 0) + 1), _NOTHING)
    table[batch.image_index, numbers] = batch.object_class.to(table.dtype)
    classes = _classes(batch.layers, table)
    masks = _class_masks(classes, num_classes)
    rows = torch.arange(masks.shape[-2], device=masks.device)
    columns = torch.arange(masks.shape[-1], device=masks.device)
    sizes = batch.input_sizes
    inside = (rows[:, None] < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])
    valid = inside[:, None] & _valid(classes)
    border = torch.zeros_like(valid)
    for number in torch.unique(batch.object_class[batch.object_class >= 0]).tolist():
        values = torch.where(classes == number, batch.layers, 0)
        border |= touching(values, border_px)
    return UNetTargets(masks=masks, border=border, valid=valid)


def sample_targets(sample: Sample, *, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the classes of one image in its original frame.

    Args:
        sample: The image with its objects.
        num_classes: Classes of the data.

    Returns:
        Masks (classes, H, W) bool, and (H, W) bool, False where the truth is unknown.
    """
    table = sample.layers.new_full((1, sample.num_objects + 1), _NOTHING)
    table[0, 1:] = sample.object_class.to(table.dtype)
    classes = _classes(sample.layers[None], table)
    return _class_masks(classes, num_classes)[0], _valid(classes)[0, 0]


def touching(values: Tensor, radius_px: int) -> Tensor:
    """Find the pixels that have two objects near them.

    Args:
        values: (B, L, h, w) whole numbers: an object's number, or 0.
        radius_px: Half the side of the square, around a pixel, that counts as near.

    Returns:
        (B, 1, h, w) bool.
    """
    side = 2 * radius_px + 1
    numbers = values.float()
    highest = numbers.amax(dim=1, keepdim=True)
    lowest = torch.where(numbers > 0, numbers, _FAR).amin(dim=1, keepdim=True)
    highest = F.max_pool2d(highest, side, stride=1, padding=radius_px)
    lowest = -F.max_pool2d(-lowest, side, stride=1, padding=radius_px)
    return (highest > lowest) & (highest > 0)


def _classes(layers: Tensor, table: Tensor) -> Tensor:
    """Return the class of every pixel of (B, L, h, w) layers by a (B, values) table."""
    indices = layers.clamp(min=0).long().flatten(1)
    classes = table.gather(1, indices).reshape(layers.shape)
    return torch.where(layers == IGNORE, NO_CLASS, classes)  # neither is learnt


def _class_masks(classes: Tensor, num_classes: int) -> Tensor:
    return torch.stack([(classes == c).any(dim=1) for c in range(num_classes)], dim=1)


def _valid(classes: Tensor) -> Tensor:
    return (classes != NO_CLASS).all(dim=1, keepdim=True)
