"""Cut the images of a batch into windows, to train on small pieces at full scale."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from samft.prompts.selection import object_areas
from samft.types import Frame, SamBatch

_SLIVER = 12  # pixels; what the cut leaves of an object below that is no task


def cut_windows(batch: SamBatch, parts: int) -> SamBatch:
    """Return the `parts` x `parts` windows of every image as a batch of their own.

    An object belongs to every window that holds at least 12 pixels of it. In each it is only what
    lies inside.

    Args:
        batch: B images of side S in the input frame; S must be a multiple of `parts`.
        parts: Windows along each side.

    Returns:
        B * parts**2 images of side S / parts, row by row within each image, without samples.
    """
    side, count = batch.images.shape[-1] // parts, parts**2
    window = torch.arange(count, device=batch.images.device)
    rows = torch.arange(batch.num_objects, device=batch.images.device).repeat(count)
    index = batch.image_index[rows] * count + window.repeat_interleave(batch.num_objects)
    order = torch.argsort(index, stable=True)
    cut = replace(
        batch.select(rows[order]),
        images=_cut(batch.images, parts),
        layers=_cut(batch.layers, parts),
        image_index=index[order],
        frames=tuple(
            _part(frame, row * side, column * side, side)
            for frame in batch.frames
            for row in range(parts)
            for column in range(parts)
        ),
        sample_ids=tuple(name for name in batch.sample_ids for _ in range(count)),
        samples=None,
    )
    return cut.select(object_areas(cut) >= _SLIVER)


def _cut(maps: Tensor, parts: int) -> Tensor:
    """Return (B * parts**2, C, s, s) of (B, C, S, S)."""
    count, channels, height, width = maps.shape
    pieces = maps.view(count, channels, parts, height // parts, parts, width // parts)
    return pieces.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).contiguous()


def _part(frame: Frame, top: int, left: int, side: int) -> Frame:
    height, width = frame.input_size
    inside = min(max(height - top, 0), side), min(max(width - left, 0), side)
    return Frame(original_size=inside, input_size=inside, image_size=side)
