"""Which objects of a batch a training step looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from samft.prompts.streams import Randomness, uniform
from samft.types import SamBatch

Balance = Literal["none", "class", "size"]


@dataclass(kw_only=True, slots=True)
class SelectionCounts:
    """What became of the objects of the batches seen so far; `select_objects` adds to it.

    Args:
        offered: Objects in the batches.
        empty: Left out because they have no pixel in the input frame.
        too_small: Left out because they have fewer than `min_area` pixels.
        too_large: Left out because they cover more than `max_area_fraction` of their image.
        over_limit: Usable, but left out because the image has more than `max_per_image`.
    """

    offered: int = 0
    empty: int = 0
    too_small: int = 0
    too_large: int = 0
    over_limit: int = 0

    @property
    def kept(self) -> int:
        """Objects that were trained on."""
        return self.offered - self.empty - self.too_small - self.too_large - self.over_limit

    def __str__(self) -> str:
        """Return one line for a log."""
        return (
            f"{self.offered} objects: {self.kept} kept, {self.empty} empty, "
            f"{self.too_small} too small, {self.too_large} too large, "
            f"{self.over_limit} over the limit per image"
        )


def select_objects(
    batch: SamBatch,
    *,
    max_per_image: int,
    max_area_fraction: float,
    generator: Randomness,
    min_area: int = 1,
    balance: Balance = "none",
    counts: SelectionCounts | None = None,
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
        min_area: Objects with fewer pixels of the input frame are left out; at least 1.
        balance: How the subset of a crowded image is drawn. `none`: every object has the same
            chance. `class`: the classes of the image take turns until the limit is reached, so a
            rare class is not crowded out. `size`: the same with size groups, a new one with each
            doubling of the object's side (square root of its area).
        counts: Where to count what is left out; needs one read-back from the device.

    Returns:
        (P',) int64 rows of the batch, ascending.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A: at most 64 random masks, none above
    90 % of the image.
    """
    areas = object_areas(batch)
    image_area = batch.input_sizes.prod(dim=1)[batch.image_index]
    too_large = areas > max_area_fraction * image_area
    usable = (areas >= max(min_area, 1)) & ~too_large
    draw = uniform(generator, batch.image_index)
    order = torch.argsort(draw + (~usable).to(draw))
    # In random order, each group of each image numbers its objects; the image then takes all the
    # first ones, all the second ones and so on, and what cannot be used last.
    turn = _rank_among_equals(_groups(batch, areas, balance)[order])
    turn = turn.masked_fill(~usable[order], batch.num_objects)
    order = order[torch.argsort(turn, stable=True)]
    rank = _rank_among_equals(batch.image_index[order])
    kept = order[(rank < max_per_image) & usable[order]].sort().values
    if counts is not None:
        _count(counts, areas, too_large=too_large, usable=usable, kept=len(kept))
    return kept


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


def _groups(batch: SamBatch, areas: Tensor, balance: Balance) -> Tensor:
    """Return (P,) int64, equal for objects of one image that stand in one queue."""
    if balance == "none":
        return batch.image_index
    if balance == "class":
        group = batch.object_class
    else:
        # The exponent of the area, exactly; a side doubles where the area grows fourfold.
        group = (torch.frexp(areas.float()).exponent.long() + 1) // 2
    return (batch.image_index << 32) + group


def _rank_among_equals(keys: Tensor) -> Tensor:
    """Return (P,) int64, how many earlier places of (P,) `keys` hold the same key."""
    order = torch.argsort(keys, stable=True)
    ordered = keys[order]
    rank = torch.arange(len(keys), device=keys.device) - torch.searchsorted(ordered, ordered)
    return torch.empty_like(rank).scatter_(0, order, rank)


def _count(
    counts: SelectionCounts, areas: Tensor, *, too_large: Tensor, usable: Tensor, kept: int
) -> None:
    empty = areas == 0
    too_small = ~(empty | too_large | usable)
    numbers = torch.stack([empty.sum(), too_large.sum(), too_small.sum(), usable.sum()]).tolist()
    counts.offered += len(areas)
    counts.empty += numbers[0]
    counts.too_large += numbers[1]
    counts.too_small += numbers[2]
    counts.over_limit += numbers[3] - kept
