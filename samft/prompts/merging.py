"""Several prompt batches, each for some of the objects, as one batch for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samft.types import ABSENT, PromptBatch

Part = tuple[Tensor, PromptBatch]
"""(rows, prompts): `prompts[i]` is for object `rows[i]`."""


def merge_prompts(parts: Sequence[Part], image_index: Tensor) -> PromptBatch:
    """Put the prompts of all parts into one batch.

    A field is set when any part has it, even for no object; rows that do not use it are marked:
    `ABSENT` points, `has_box` and `has_mask` False.

    Args:
        parts: (rows, prompts) with rows (P',) int64; together they name each object at most once.
        image_index: (P,) int64, the image of each object.
    """
    points, labels = _merge_points(parts, len(image_index))
    boxes, has_box = _merge_rows(
        [(rows, part.boxes, part.has_box) for rows, part in parts if part.boxes is not None],
        len(image_index),
    )
    mask_logits, has_mask = _merge_rows(
        [
            (rows, part.mask_logits, part.has_mask)
            for rows, part in parts
            if part.mask_logits is not None
        ],
        len(image_index),
    )
    return PromptBatch(
        image_index=image_index,
        points=points,
        labels=labels,
        boxes=boxes,
        has_box=has_box,
        mask_logits=mask_logits,
        has_mask=has_mask,
    )


def _merge_points(parts: Sequence[Part], num_prompts: int) -> tuple[Tensor | None, Tensor | None]:
    given = [
        (rows, part.points, part.labels)
        for rows, part in parts
        if part.points is not None and part.labels is not None
    ]
    if not given:
        return None, None
    slots = max(labels.shape[1] for _, _, labels in given)
    first_points, first_labels = given[0][1:]
    merged_points = first_points.new_zeros((num_prompts, slots, 2))
    merged_labels = first_labels.new_full((num_prompts, slots), ABSENT)
    for rows, points, labels in given:
        merged_points[rows, : labels.shape[1]] = points
        merged_labels[rows, : labels.shape[1]] = labels
    return merged_points, merged_labels


def _merge_rows(
    given: Sequence[tuple[Tensor, Tensor, Tensor | None]], num_prompts: int
) -> tuple[Tensor | None, Tensor | None]:
    """Merge (rows, values, which count); `None` for the last means that all values count."""
    if not given:
        return None, None
    like = given[0][1]
    merged = like.new_zeros((num_prompts, *like.shape[1:]))
    counts = torch.zeros(num_prompts, dtype=torch.bool, device=like.device)
    for rows, values, which in given:
        merged[rows] = values
        counts[rows] = torch.ones_like(rows, dtype=torch.bool) if which is None else which
    return merged, counts
