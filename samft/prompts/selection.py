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

    Objects that fill almost the whole image teach nothing about prompts; of the others a random
    subset is kept where an image has more than memory allows.

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
    sizes = batch.input_sizes
    image_area = sizes.prod(dim=1)[batch.image_index]
    usable = batch.masks().flatten(1).sum(dim=1) <= max_area_fraction * image_area
    draw = torch.rand(batch.num_objects, generator=generator, device=batch.images.device)
    # Rank the objects of each image in random order: sort by the draw, then, stably, by image.
    order = torch.argsort(draw + (~usable).to(draw))
    order = order[torch.argsort(batch.image_index[order], stable=True)]
    images = batch.image_index[order]
    first = torch.searchsorted(images, images)
    rank = torch.arange(len(order), device=order.device) - first
    kept = order[(rank < max_per_image) & usable[order]]
    return kept.sort().values
