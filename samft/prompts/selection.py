"""Which objects of a batch a training step looks at."""

from __future__ import annotations

import torch
from torch import Tensor

from samft.types import SamBatch


def select_objects(
    batch: SamBatch,
    *,
    max_per_image: int,
    max_area_fraction: float,
    generator: torch.Generator,
) -> Tensor:
    """Choose the objects to train on.

    Objects that fill almost the whole image teach nothing about prompts, and objects without a
    pixel cannot be prompted; of the others a random subset is kept where an image has more than
    memory allows.

    Args:
        batch: B images with P objects in the input frame.
        max_per_image: Most objects kept of one image.
        max_area_fraction: Objects covering more than this share of their image are left out.
        generator: Source of randomness, on the batch's device.

    Returns:
        (P',) int64 rows of the batch, ascending.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A: at most 64 random masks, none above
    90 % of the image.
    """
    image_area = batch.input_sizes.prod(dim=1)[batch.image_index]
    areas = object_areas(batch)
    usable = (areas > 0) & (areas <= max_area_fraction * image_area)
    draw = torch.rand(batch.num_objects, generator=generator, device=batch.images.device)
    # Rank the objects of each image in random order: sort by the draw, then, stably, by image.
    order = torch.argsort(draw + (~usable).to(draw))
    order = order[torch.argsort(batch.image_index[order], stable=True)]
    images = batch.image_index[order]
    first = torch.searchsorted(images, images)
    rank = torch.arange(len(order), device=order.device) - first
    kept = order[(rank < max_per_image) & usable[order]]
    return kept.sort().values


def object_areas(batch: SamBatch) -> Tensor:
    """Return (P,) int64, the pixels of each object in the input frame, without making its mask."""
    if batch.num_objects == 0:
        return torch.zeros_like(batch.image_index)
    num_layers = batch.layers.shape[1]
    values = int(batch.object_value.max()) + 1
    layer = torch.arange(batch.layers.shape[0] * num_layers, device=batch.layers.device)
    # Count every (layer, value) pair at once; what belongs to no object falls on value 0.
    inside = batch.layers.flatten(0, 1).flatten(1).clamp(min=0, max=values)
    pairs = layer[:, None] * (values + 1) + inside
    counts = torch.bincount(pairs.flatten(), minlength=len(layer) * (values + 1))
    rows = batch.image_index * num_layers + batch.object_layer
    return counts[rows * (values + 1) + batch.object_value]
