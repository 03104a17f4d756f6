"""The prompts of an evaluation: functions of the object alone, the same for every model."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from samft.evaluation.settings import PromptName
from samft.types import PromptBatch, SamBatch
from samft.validation import simulate

LOOSE_SHARE: Final = 0.1
"""How far each side of a loose box lies outside, as a share of the box's width or height."""


def prompts_of(name: PromptName, batch: SamBatch) -> PromptBatch:
    """Return the prompts of a kind for all objects of a batch.

    - `box`: the tight box, from the first to the last pixel of the object in each direction.
    - `loose_box`: the same with every side moved outwards by a tenth of the box's width or height,
      as far as the image reaches: about what people draw by hand.
    - `point`: the pixel farthest from the object's boundary.

    An object without a pixel at the input size gets no box, or no point.

    Args:
        name: What to ask with.
        batch: Its objects.

    Returns:
        One prompt per object, input frame.
    """
    if name == "point":
        return simulate("point", batch)
    tight = simulate("box", batch)
    return tight if name == "box" else _loosened(tight, batch)


def _loosened(tight: PromptBatch, batch: SamBatch) -> PromptBatch:
    boxes, found = tight.boxes, tight.has_box
    assert boxes is not None  # a tight box says both
    assert found is not None
    shift = LOOSE_SHARE * (boxes[:, 2:] - boxes[:, :2] + 1)
    last = (batch.input_sizes.flip(1) - 1).to(boxes.dtype)[batch.image_index]  # x, y
    low = (boxes[:, :2] - shift).clamp(min=0)
    high = (boxes[:, 2:] + shift).minimum(last)
    loose: Tensor = torch.cat([low, high], dim=1)
    return replace(tight, boxes=torch.where(found[:, None], loose, boxes))
