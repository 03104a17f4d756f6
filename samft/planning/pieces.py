"""Decoding in a rehearsal: many pieces that hold the same, of which a few are worked out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from samft.models.sam import Sam
from samft.types import MaskOutput, PromptBatch

_WORKED_OUT: Final = 2  # the first piece finds the memory fresh, the second as all others do


@contextmanager
def few_pieces(sam: Sam) -> Iterator[None]:
    """Let a model without values decode by `FewPieces` within."""
    sam.decode = FewPieces(sam)  # type: ignore[method-assign]  # hides the method for a while
    try:
        yield
    finally:
        del sam.decode


class FewPieces:
    """Decodes the first two pieces of a round; the others get answers of their size.

    A piece gives its memory back before the next one comes, so a third shows nothing new. What all
    objects hold together, such as masks and answers, is there for every one of them.

    Args:
        sam: A model without values.
    """

    def __init__(self, sam: Sam) -> None:
        self._decode = sam.decode
        parts = (sam.prompt_encoder, sam.mask_decoder)
        self._trained = [p for part in parts for p in part.parameters() if p.requires_grad]
        self._seen: dict[bool | None, int] = {}  # rounds differ in `multimask`
        self._like: dict[bool | None, MaskOutput] = {}

    def __call__(
        self,
        embeddings: Tensor,
        prompts: PromptBatch,
        *,
        multimask: bool | None,
        origin: tuple[int, int] = (0, 0),
    ) -> MaskOutput:
        """Answer P prompts; see `Sam.decode`."""
        self._seen[multimask] = self._seen.get(multimask, 0) + 1
        if self._seen[multimask] > _WORKED_OUT:
            return self._answer(embeddings, len(prompts.image_index), self._like[multimask])
        output = self._decode(embeddings, prompts, multimask=multimask, origin=origin)
        # A view of one value: it has type and sizes, and keeps no answer alive.
        logits, iou = output.logits.detach(), output.iou.detach()
        self._like[multimask] = MaskOutput(
            logits=logits.new_zeros(()).expand(logits.shape),
            iou=iou.new_zeros(()).expand(iou.shape),
        )
        return output

    def _answer(self, embeddings: Tensor, count: int, like: MaskOutput) -> MaskOutput:
        logits, iou = (
            torch.zeros((count, *each.shape[1:]), dtype=each.dtype)
            for each in (like.logits, like.iou)
        )
        # The loss is differentiated, so something of the model must be in it.
        for source in (embeddings, *self._trained):
            if source.requires_grad:
                nothing = source.sum() * 0
                return MaskOutput(logits=logits + nothing, iou=iou + nothing)
        return MaskOutput(logits=logits, iou=iou)
