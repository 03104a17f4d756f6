"""What can be evaluated: anything that answers prompts about a batch, SAM or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from samft.evaluation.settings import EvaluationSettings
from samft.types import SamBatch

CompetitorKind = Literal["sam", "baseline", "unet"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """Masks of some objects of one image, each the answer to one prompt.

    Args:
        prompt: `box`, `loose_box` or `point<n>`.
        image: Index of the image in the batch.
        rows: (k,) int64, objects of the batch that were asked for.
        masks: (k, H, W) bool, original frame.
        predicted_iou: (k,) float, or `None` where nothing is predicted.
        marks: For each object what it was asked for with, as plain data in original pixels, see
            `samft.inference.prediction.describe_prompt`.
    """

    prompt: str
    image: int
    rows: Tensor
    masks: Tensor
    predicted_iou: Tensor | None
    marks: tuple[Mapping[str, Any], ...]  # Any: JSON


class Competitor(nn.Module, ABC):
    """Answers the prompts of an evaluation; on whatever device its parameters are.

    Args:
        name: For tables and files; unique in an evaluation.
    """

    kind: CompetitorKind
    prompts: tuple[str, ...]
    """Which of `EvaluationSettings.prompts` it can answer; further clicks only if `clicks`."""
    clicks: bool

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @abstractmethod
    def answers(self, batch: SamBatch, settings: EvaluationSettings) -> Iterator[Answer]:
        """Answer every prompt of `settings` that it can, about every object of the batch.

        The truth in the batch makes the prompts, as a person would, and nothing else.

        Args:
            batch: With its samples.
            settings: Which prompts, how many clicks.

        Yields:
            Answers in bounded memory; those about one prompt and image may come in several parts.
        """

    def instances(self, batch: SamBatch, image: int) -> Tensor | None:
        """Segment one image without prompts.

        Returns:
            (n, H, W) bool, best first, original frame, which may overlap; `None` if it cannot.
        """
        del batch, image
        return None

    def class_masks(self, batch: SamBatch, image: int) -> Tensor | None:
        """Say which pixels of one image belong to which class, without prompts.

        Returns:
            (C, H, W) bool in the order of the data's classes, original frame, which may overlap;
            `None` if it cannot.
        """
        del batch, image
        return None

    def describe(self) -> dict[str, Any]:  # Any: JSON
        """Return what a report says of it: source, hash of the weights, parameters."""
        return {}
