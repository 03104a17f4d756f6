"""Clicks on nothing: prompts whose right answer is an empty mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.prompts.points import positive_points
from samft.prompts.sampling import sample_many
from samft.prompts.streams import Randomness, by_image
from samft.types import PromptBatch, SamBatch

_PAPER_SIDE = 1024
_MARGIN_PX = 20.0


def background_clicks(
    batch: SamBatch,
    count: int,
    *,
    generator: Randomness,
    empty_images_only: bool = False,
    margin_px: float = _MARGIN_PX,
) -> tuple[PromptBatch, Tensor]:
    """Click where nothing is, once per prompt, in every image.

    A model that has seen only clicks on objects answers any click with an object. These prompts
    are positive clicks on background, with empty masks to learn from: draw nothing, and predict a
    low IoU.

    Args:
        batch: B images; those without an object are what this is for, but every image has
            background.
        count: Clicks per image.
        generator: Source of randomness, on the batch's device.
        empty_images_only: Leave out images that have an object.
        margin_px: Least distance along each axis from any object and from pixels of which nothing
            is known, in pixels of a 1024 x 1024 input; scaled with the input.

    Returns:
        P prompts of one point each, by image, `count` per image; an image without free background
        has `ABSENT` points. And (P, S, S) bool masks without a True pixel.
    """
    free = _free_background(batch, margin_px)
    images = torch.arange(len(free), device=free.device)
    if empty_images_only:
        occupied = torch.zeros_like(images, dtype=torch.bool)
        occupied[batch.image_index] = True
        images = images[~occupied]
    points, found = _sample(free[images], images, count, generator=generator)
    prompts = positive_points(
        images.repeat_interleave(count),
        points.reshape(-1, 1, 2),
        found.repeat_interleave(count)[:, None],
    )
    return prompts, free.new_zeros((prompts.num_prompts, *free.shape[1:]))


def _sample(
    free: Tensor, images: Tensor, count: int, *, generator: Randomness
) -> tuple[Tensor, Tensor]:
    """Return `count` points in each image's (S, S) region, drawn from the image's own stream."""
    points = torch.zeros(len(images), count, 2, device=free.device)
    found = torch.zeros(len(images), dtype=torch.bool, device=free.device)
    for rows, own in by_image(generator, images):
        points[rows], found[rows] = sample_many(free[rows], count, generator=own)
    return points, found


def padding(batch: SamBatch) -> Tensor:
    """Return (B, S, S) bool, True right of and below each image, where nobody can click."""
    rows, columns = (
        torch.arange(length, device=batch.images.device) < batch.input_sizes[:, axis, None]
        for axis, length in enumerate(batch.images.shape[-2:])
    )
    return ~(rows[:, :, None] & columns[:, None, :])


def out_of_reach(batch: SamBatch, image_index: Tensor, ignored: Tensor) -> Tensor:
    """Return (P, S, S) bool, True where no click may fall: padding, or nothing is known.

    Args:
        batch: The images.
        image_index: (P,) int64, the image of each object.
        ignored: (P, S, S) bool, where nothing is known about each object.
    """
    if all(frame.input_size == batch.images.shape[-2:] for frame in batch.frames):
        return ignored
    return ignored | padding(batch)[image_index]


def _free_background(batch: SamBatch, margin_px: float) -> Tensor:
    """Return (B, S, S) bool: inside the image and well away from everything that is labelled."""
    side = max(batch.images.shape[-2:])
    margin = round(margin_px * side / _PAPER_SIDE)
    taken = (batch.layers != 0).any(dim=1)
    near = F.max_pool2d(taken[:, None].float(), 2 * margin + 1, stride=1, padding=margin)[:, 0]
    return ~(near > 0) & ~padding(batch)
