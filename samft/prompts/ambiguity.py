"""One answer or three, decided for each prompt rather than for the whole pass.

SAM trains three masks for the first prompt of every object, be it a point or a box. SAM 2 and
micro-sam do so for a lone point only and train one mask where the prompt says more. In one batch
that holds both, every row must have the same number of masks: decode all four, then take three.
"""

from __future__ import annotations

import torch
from torch import Tensor

from samft.types import NEGATIVE, POSITIVE, MaskOutput, PromptBatch


def is_ambiguous(prompts: PromptBatch) -> Tensor:
    """Return (P,) bool: at most one point, and neither box nor mask.

    Source: SAM 2's training code asks for several masks for 0 or 1 points; a box counts as two.
    """
    alone = torch.ones_like(prompts.image_index, dtype=torch.bool)
    if prompts.labels is not None:
        real = (prompts.labels == POSITIVE) | (prompts.labels == NEGATIVE)
        alone &= real.sum(dim=1) <= 1
    for values, which in (
        (prompts.boxes, prompts.has_box),
        (prompts.mask_logits, prompts.has_mask),
    ):
        if values is not None:
            alone &= torch.zeros_like(alone) if which is None else ~which
    return alone


def answers_for(output: MaskOutput, ambiguous: Tensor) -> MaskOutput:
    """Take the three masks of ambiguous prompts, and three times the one mask of clear prompts.

    Three equal masks have the same smallest and mean loss as the one, and the same gradient.

    Args:
        output: All four masks of each prompt, that of a clear prompt (token 0) first.
        ambiguous: (P,) bool.
    """
    several = torch.arange(1, output.iou.shape[1], device=ambiguous.device)
    masks = torch.where(ambiguous[:, None], several, 0)
    rows = torch.arange(len(ambiguous), device=ambiguous.device)[:, None]
    return MaskOutput(logits=output.logits[rows, masks], iou=output.iou[rows, masks])
