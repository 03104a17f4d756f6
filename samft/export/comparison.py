"""Asks a written export what the model was asked, and compares the answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from samft.data.geometry import logits_to_original
from samft.errors import CheckpointError
from samft.export.questions import Kind, Question
from samft.models.adaptation.reloaded import TOLERANCE
from samft.types import MaskOutput

__all__ = ["TOLERANCE", "Comparison", "Reader", "compare", "require_same"]


class Reader(Protocol):
    """A program that has read an export."""

    @property
    def program(self) -> str:
        """Its name, with its version where that is known."""
        ...

    def answer(self, question: Question) -> dict[Kind, MaskOutput]:
        """Return the answer to each prompt: all four masks, or the one that it chose.

        The logits are those of the decoder, or brought to the original frame.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How far one program's answers are from the model's.

    Args:
        program: What answered.
        largest: Largest difference, for each kind of prompt.
        scale: The largest value of the model's answers.
        iou: Largest difference of predicted IoU.
        what: What was compared.
    """

    program: str
    largest: dict[Kind, float]
    scale: float
    iou: float
    what: str = "logits"

    @property
    def overall(self) -> float:
        """The largest difference; not a number when an answer is none."""
        return float(torch.tensor(list(self.largest.values())).max())

    @property
    def relative(self) -> float:
        """The larger of both differences: of masks, as a share of the scale; of IoU."""
        return float(torch.tensor([self.overall / max(self.scale, 1e-12), self.iou]).max())

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {value:.1e}" for kind, value in self.largest.items())
        return (
            f"{self.program}: largest difference of {self.what} {self.overall:.1e} ({kinds}); "
            f"with IoU, {self.relative:.1e} of the largest"
        )


def compare(reader: Reader, questions: Sequence[Question]) -> Comparison:
    """Ask a program every question and measure how far its answers are from the model's.

    Args:
        reader: The program. Where it answers with fewer than four masks, those are compared whose
            predicted IoU comes closest.
        questions: At least one.
    """
    largest: dict[Kind, float] = {}
    iou = scale = 0.0
    for question in questions:
        for kind, found in reader.answer(question).items():
            expected = question.answers[kind]
            scale = max(scale, float(expected.logits.abs().max()))
            expected = _same_masks(expected, found)
            logits = expected.logits
            if logits.shape != found.logits.shape:
                logits = logits_to_original(logits, question.frame)
            difference = float((found.logits - logits).abs().max())
            largest[kind] = _larger(largest.get(kind, 0.0), difference)
            iou = _larger(iou, float((found.iou - expected.iou).abs().max()))
    return Comparison(program=reader.program, largest=largest, scale=scale, iou=iou)


def require_same(comparisons: Iterable[Comparison], where: Path) -> None:
    """Refuse an export that does not answer as the model does.

    Raises:
        CheckpointError: if a difference is beyond `TOLERANCE`, or not a number.
    """
    for comparison in comparisons:
        if not comparison.relative <= TOLERANCE:
            raise CheckpointError(
                f"in {comparison.program} the export does not answer as the model does",
                where=where,
                found=f"a difference of {comparison.relative:.1e}",
                expected=f"at most {TOLERANCE:g} of the largest value",
                fix="nothing was written; please report it, with the run's config.fit.yaml",
            )


def _same_masks(expected: MaskOutput, found: MaskOutput) -> MaskOutput:
    if found.iou.shape == expected.iou.shape:
        return expected
    return expected.take((expected.iou - found.iou[:, :1]).abs().argmin(dim=1))


def _larger(one: float, other: float) -> float:
    """Return the larger; not a number when one is none, which `max` would lose."""
    return float(torch.tensor([one, other]).max())
