"""Reads a written file again, in samft and in `segment_anything`, and compares the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from samft.errors import CheckpointError
from samft.models.official import load_official, official_answers, package_name, why_not
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.models.weights import load_weights
from samft.types import NEGATIVE, POSITIVE, PromptBatch

TOLERANCE: Final = 1e-3
"""Largest difference of an answer, relative to the largest value, that counts as rounding. float32
leaves less than 1e-4 between the two programs; training that is missing leaves more than this."""


class Reading(NamedTuple):
    """What became of one attempt to read the file.

    Args:
        program: What read it.
        difference: Largest difference of logits and predicted IoU, relative to the largest value
            of each; `None` if it was not read.
        reason: Why it was not read.
    """

    program: str
    difference: float | None
    reason: str = ""


def compare_file(sam: Sam, path: Path) -> list[Reading]:
    """Read a file in every program that can, and compare with the model it was made from.

    One image and prompts that every weight takes part in answering: points inside and outside,
    boxes, and masks.

    Args:
        sam: The model, adapted or not, on the CPU.
        path: The file made from it.

    Returns:
        How far each program's answers are from the model's, at most `TOLERANCE`.

    Raises:
        CheckpointError: if a program refuses the file or answers differently.
    """
    images, asked = probe(sam)
    expected = answers(sam, images, asked)
    again = build_from_config(sam.config)
    load_weights(again, path)
    readings = [_checked("samft", expected, answers(again, images, asked), path)]
    del again  # a ViT-H takes 2.5 GB
    reason = why_not(sam.config, path)
    if reason is not None:
        return [*readings, Reading(package_name(), None, reason)]
    found = official_answers(load_official(sam.config, path), images, asked)
    return [*readings, _checked(package_name(), expected, found, path)]


def probe(sam: Sam) -> tuple[Tensor, list[PromptBatch]]:
    """Return an image (1, C, S, S) of random pixels, 0 to 255, and prompts of two kinds for it."""
    side, grid = sam.image_size, 4 * sam.config.grid_size
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, sam.num_channels, side, side), generator=generator) * 255
    index = torch.zeros(2, dtype=torch.int64)
    points = PromptBatch(
        image_index=index,
        points=torch.rand((2, 2, 2), generator=generator) * side,
        labels=torch.tensor([[POSITIVE, NEGATIVE]] * 2),
    )
    boxes = PromptBatch(
        image_index=index,
        boxes=torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.3, 0.1, 0.8, 0.7]]) * side,
        mask_logits=torch.randn((2, 1, grid, grid), generator=generator) * 8,
    )
    return image, [points, boxes]


@torch.no_grad()
def answers(sam: Sam, images: Tensor, asked: list[PromptBatch]) -> list[Tensor]:
    """Return logits and predicted IoU of all four masks, prompt by prompt."""
    was_training = sam.training
    sam.eval()
    embeddings = sam.encode_image(images)
    outputs = [sam.decode(embeddings, prompts, multimask=None) for prompts in asked]
    sam.train(was_training)
    return [tensor for output in outputs for tensor in (output.logits, output.iou)]


def _checked(program: str, expected: list[Tensor], found: list[Tensor], path: Path) -> Reading:
    difference = max(map(_relative, expected, found))
    if not difference <= TOLERANCE:  # also when it is not a number
        raise CheckpointError(
            f"in {program} the file does not answer as the run does",
            where=path,
            found=f"a difference of {difference:.1e}",
            expected=f"at most {TOLERANCE:g} of the largest value",
        )
    return Reading(program, difference)


def _relative(expected: Tensor, found: Tensor) -> float:
    scale = expected.abs().max().clamp(min=1e-12)
    return float((found - expected).abs().max() / scale)
