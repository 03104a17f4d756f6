"""Masks at the resolution of the logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_OBJECTS_AT_ONCE = 8


def targets_at(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring masks to the resolution of the logits by averaging over areas.

    Averages rather than nearest pixels, because an object smaller than a logit pixel may hold none
    of the sampled positions: it would vanish. As an average it keeps its exact area.

    Args:
        masks: (P, S, S) bool.
        size: (height, width) of the logits.

    Returns:
        (P, 1, *size) float32 in [0, 1], the share of each logit pixel that the mask covers.
    """
    # A few objects at a time: all of them in float32 would take four times the masks' memory.
    chunks = [
        F.interpolate(chunk[:, None].float(), size=size, mode="area")
        for chunk in torch.split(masks, _OBJECTS_AT_ONCE)
    ]
    return torch.cat(chunks)
