"""Answers to boxes that need no model; one that answers worse has learnt nothing that helps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor

from samft.data.geometry import boxes_to_original
from samft.evaluation.competitor import Answer, Competitor
from samft.evaluation.prompting import prompts_of, questions
from samft.evaluation.settings import EvaluationSettings, PromptName
from samft.inference.overlay import picture
from samft.inference.prediction import describe_prompt
from samft.metrics.baselines import BoxBaseline, ellipse_in_box, filled_box, otsu_in_box
from samft.types import Frame, SamBatch

BASELINES: Final[dict[str, tuple[BoxBaseline, str]]] = {
    "filled_box": (filled_box, "everything in the box"),
    "ellipse": (ellipse_in_box, "the ellipse that touches the sides of the box"),
    "otsu": (otsu_in_box, "the side of Otsu's threshold that is rarer on the border of the box"),
}
"""What can be named in `evaluation.against`, and what it answers."""


class BoxBaselineCompetitor(Competitor):
    """Answers boxes by a rule.

    It gets the boxes that the models get, which are drawn at their input size, brought back to
    whole pixels of the original frame.

    Args:
        name: One of `BASELINES`.
    """

    kind = "baseline"
    prompts = ("box", "loose_box")
    clicks = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._rule, self._text = BASELINES[name]

    def answers(self, batch: SamBatch, settings: EvaluationSettings) -> Iterator[Answer]:
        """See `Competitor`."""
        for name, rows, image in questions(batch, settings, self.prompts):
            yield self._answer(name, batch, rows, image)

    def describe(self) -> dict[str, Any]:  # Any: JSON
        """Return what it does."""
        return {"source": self._text, "num_parameters": 0}

    def _answer(self, name: PromptName, batch: SamBatch, rows: Tensor, image: int) -> Answer:
        assert batch.samples is not None  # evaluation loaders keep the samples
        sample, frame = batch.samples[image], batch.frames[image]
        prompts = prompts_of(name, batch.select(rows)).to("cpu")
        assert prompts.boxes is not None  # boxes were asked for
        assert prompts.has_box is not None
        pixels = sample.image
        if pixels.shape[0] != 3:
            pixels = torch.from_numpy(picture(pixels)).permute(2, 0, 1)
        masks = torch.zeros((len(rows), *sample.size), dtype=torch.bool)
        boxes = _whole_pixels(prompts.boxes, frame)
        for mask, box, found in zip(masks, boxes, prompts.has_box.tolist(), strict=True):
            if found:
                mask[:] = self._rule(pixels, box)
        return Answer(
            prompt=name,
            image=image,
            rows=rows,
            masks=masks,
            predicted_iou=None,
            marks=tuple(describe_prompt(prompts, row, frame) for row in range(len(rows))),
        )


def _whole_pixels(boxes: Tensor, frame: Frame) -> Tensor:
    """Return the first and last pixels of the original frame that boxes of the input frame cover.

    A box names the centres of its outermost pixels; where images are shrunk these stand for more
    than one pixel of the file, all of which belong to it.

    Args:
        boxes: (P, 4) xyxy, input frame.
        frame: Of the image.
    """
    outer = boxes_to_original(boxes + boxes.new_tensor([0, 0, 1, 1]), frame)
    low = outer[:, :2].round()
    return torch.cat([low, (outer[:, 2:] - 1).round().maximum(low)], dim=1)
