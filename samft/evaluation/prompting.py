"""The prompts of an evaluation: functions of the object alone, the same for every model."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from samft.evaluation.settings import EvaluationSettings, PromptName
from samft.types import PromptBatch, SamBatch
from samft.validation import simulate

_OBJECTS_AT_ONCE: Final = 64
_CHUNK_PIXELS: Final = 32 * 1024 * 1024  # of masks held at once
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


def questions(
    batch: SamBatch, settings: EvaluationSettings, prompts: Container[str]
) -> Iterator[tuple[PromptName, Tensor, int]]:
    """Yield what a competitor without clicks is asked: some objects of an image at a time.

    Args:
        batch: Its objects.
        settings: Which prompts there are.
        prompts: Those the competitor can answer.

    Yields:
        The prompt, (k,) int64 rows of the batch, at least one, and their image: so few that their
        masks stay below 32 MB.
    """
    for image, frame in enumerate(batch.frames):
        rows = torch.nonzero(batch.image_index == image).flatten()
        height, width = frame.original_size
        at_once = max(1, min(_OBJECTS_AT_ONCE, _CHUNK_PIXELS // (height * width)))
        for name in (name for name in settings.prompts if name in prompts):
            for part in torch.split(rows, at_once):
                if len(part):
                    yield name, part, image


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
