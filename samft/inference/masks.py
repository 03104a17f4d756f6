"""From prompts to masks of the original image, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from samft.data.geometry import logits_to_original
from samft.models.sam import Sam
from samft.prompts.ambiguity import is_ambiguous
from samft.types import Frame, MaskOutput, PromptBatch

CHUNK_PIXELS = 32 * 1024 * 1024
"""Most float pixels held at once when logits are brought to the original size (128 MiB)."""
CPU_CHUNK_PIXELS = 1024 * 1024
"""The same on a CPU, where what fits in a core's cache (4 MiB) is faster: by a fifth, measured."""

CPU_CHUNK_CELLS = 2**14
"""Most cells of image embeddings that prompts are decoded against at once on a CPU, for the same
reason: nano's automatic masks take two thirds of the time, and half of the memory."""


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


def answer(sam: Sam, embeddings: Tensor, prompts: PromptBatch, *, chunk: int = 64) -> MaskOutput:
    """Answer P prompts with one mask each: the best of three for a lone point, else token 0.

    A box says which object is meant, and has one answer, as tools that use SAM ask for.

    Args:
        sam: The model.
        embeddings: (B, D, h, w) image embeddings.
        prompts: P prompts in the input frame.
        chunk: Prompts decoded at once; bounds memory, does not change the result.

    Returns:
        Logits (P, 1, S / 4, S / 4) and predicted IoU (P, 1).
    """
    rows = torch.arange(prompts.num_prompts, device=embeddings.device)
    parts = torch.split(rows, prompts_at_once(embeddings, most=chunk))
    outputs = [_answer(sam, embeddings, prompts.select(part)) for part in parts]
    return MaskOutput(
        logits=torch.cat([output.logits for output in outputs]),
        iou=torch.cat([output.iou for output in outputs]),
    )


def prompts_at_once(embeddings: Tensor, *, most: int) -> int:
    """Return how many prompts are decoded at once: `most`, or fewer on a CPU.

    Args:
        embeddings: (B, D, h, w) image embeddings.
        most: The number that is allowed.
    """
    if embeddings.device.type != "cpu":
        return most
    return min(most, max(1, CPU_CHUNK_CELLS // embeddings[0, 0].numel()))


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
        for part, logits in original_logits(output.logits[:, 0], rows, frame):
            yield MaskChunk(image=image, rows=part, masks=logits > threshold)


def original_logits(logits: Tensor, rows: Tensor, frame: Frame) -> Iterator[tuple[Tensor, Tensor]]:
    """Bring logits of one image to its original size, a bounded number at a time.

    Args:
        logits: (K, S / 4, S / 4) logits over the padded input frame.
        rows: (k,) int64, which of them.
        frame: The frame of the image.

    Yields:
        Some of `rows`, in their order, and their logits (n, H, W) float32, original frame.
    """
    height, width = frame.original_size
    per_mask = max(height * width, frame.image_size**2)
    pixels = min(CHUNK_PIXELS, CPU_CHUNK_PIXELS) if logits.device.type == "cpu" else CHUNK_PIXELS
    for part in torch.split(rows, max(1, pixels // per_mask)):
        if len(part) > 0:
            yield part, logits_to_original(logits[part, None], frame)[:, 0]
