"""From prompts to masks of the original image, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samft.data.geometry import logits_to_original
from samft.models.sam import Sam
from samft.types import NEGATIVE, Frame, MaskOutput, PromptBatch

CHUNK_PIXELS = 32 * 1024 * 1024
"""Most float pixels held at once when logits are brought to the original size (128 MiB)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskChunk:
    """Some masks of one image at its original size.

    Args:
        image: Index of the image in the batch.
        rows: (k,) int64, the prompts these masks answer.
        masks: (k, H, W) bool, original frame.
    """

    image: int
    rows: Tensor
    masks: Tensor


def is_ambiguous(prompts: PromptBatch) -> Tensor:
    """Return (P,) bool: prompts that are a lone point or box, which may mean several objects.

    SAM was trained to answer these with its three ambiguity masks, and everything more specific
    with the single-mask token.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 3, "Resolving ambiguity".
    """
    count = torch.zeros_like(prompts.image_index)
    if prompts.labels is not None:
        count = count + (prompts.labels >= NEGATIVE).sum(dim=1)
    if prompts.boxes is not None:
        count = count + (1 if prompts.has_box is None else prompts.has_box.long())
    if prompts.mask_logits is not None:
        count = count + (1 if prompts.has_mask is None else prompts.has_mask.long())
    return count <= 1


def answer(sam: Sam, embeddings: Tensor, prompts: PromptBatch, *, chunk: int = 64) -> MaskOutput:
    """Answer P prompts with one mask each: the best of three when ambiguous, else token 0.

    Args:
        sam: The model.
        embeddings: (B, D, h, w) image embeddings.
        prompts: P prompts in the input frame.
        chunk: Prompts decoded at once; bounds memory, does not change the result.

    Returns:
        Logits (P, 1, S / 4, S / 4) and predicted IoU (P, 1).
    """
    rows = torch.arange(prompts.num_prompts, device=embeddings.device)
    outputs = [_answer(sam, embeddings, prompts.select(part)) for part in torch.split(rows, chunk)]
    return MaskOutput(
        logits=torch.cat([output.logits for output in outputs]),
        iou=torch.cat([output.iou for output in outputs]),
    )


def _answer(sam: Sam, embeddings: Tensor, prompts: PromptBatch) -> MaskOutput:
    output = sam.decode(embeddings, prompts, multimask=None)
    best = output.iou[:, 1:].argmax(dim=1) + 1
    return output.take(torch.where(is_ambiguous(prompts), best, torch.zeros_like(best)))


def original_masks(
    output: MaskOutput,
    image_index: Tensor,
    frames: Sequence[Frame],
    *,
    threshold: float = 0.0,
) -> Iterator[MaskChunk]:
    """Yield the masks of each image at its original size, a bounded number at a time.

    Args:
        output: One mask per prompt: logits (P, 1, S / 4, S / 4).
        image_index: (P,) int64, the image of each prompt.
        frames: The frame of each image.
        threshold: Logit above which a pixel belongs to the object.
    """
    for image, frame in enumerate(frames):
        rows = torch.nonzero(image_index == image).flatten()
        height, width = frame.original_size
        per_mask = max(height * width, frame.image_size**2)
        for part in torch.split(rows, max(1, CHUNK_PIXELS // per_mask)):
            if len(part) > 0:
                logits = logits_to_original(output.logits[part], frame)[:, 0]
                yield MaskChunk(image=image, rows=part, masks=logits > threshold)
