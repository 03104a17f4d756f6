"""What every prompt simulator looks like from outside."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from samft.types import PromptBatch


class PromptSimulator(Protocol):
    """Makes a prompt for every object."""

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,
    ) -> PromptBatch:
        """Return one prompt per object.

        The same fields with the same number of slots are set whatever the masks hold, so that every
        batch takes the same path through the model. An object without a pixel cannot be prompted:
        it gets `ABSENT` points, no box and no mask, and stays in the batch.

        Args:
            masks: (P, S, S) bool, the objects in the input frame; P may be 0.
            image_index: (P,) int64, the image of each object.
            generator: Source of all randomness, on the masks' device.
            ignored: (P, S, S) bool, True where no negative point may fall (the truth is unknown, or
                there is no image), or `None`.
        """
        ...
