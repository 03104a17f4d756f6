"""Samples with known objects, batches of them, and a competitor that knows the truth."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from samft.data.collate import collate
from samft.evaluation.competitor import Answer, Competitor
from samft.evaluation.prompting import prompts_of
from samft.evaluation.settings import EvaluationSettings
from samft.inference.prediction import describe_prompt
from samft.types import SamBatch, Sample

SIZE = (40, 60)


def scene(
    name: str = "a",
    *,
    boxes: tuple[tuple[int, int, int, int], ...] = ((5, 5, 14, 14), (30, 10, 49, 29)),
    classes: tuple[int, ...] | None = None,
    case: str | None = None,
    spacing: tuple[float, float] | None = None,
    size: tuple[int, int] = SIZE,
) -> Sample:
    """Return a sample with filled boxes (x1, y1, x2, y2, both ends included), brighter than it."""
    layers = torch.zeros((1, *size), dtype=torch.int32)
    for value, (x1, y1, x2, y2) in enumerate(boxes, start=1):
        layers[0, y1 : y2 + 1, x1 : x2 + 1] = value
    image = torch.full((3, *size), 40, dtype=torch.uint8)
    image[:, layers[0] > 0] = 200
    return Sample(
        image=image,
        layers=layers,
        object_layer=torch.zeros(len(boxes), dtype=torch.int64),
        object_class=torch.tensor(classes or [0] * len(boxes), dtype=torch.int64),
        sample_id=name,
        case_id=case or name,
        spacing_mm=spacing,
    )


def batch_of(*samples: Sample, image_size: int = 64) -> SamBatch:
    """Return what an evaluation loader gives."""
    return collate(list(samples), image_size=image_size, keep_samples=True)


class Knowing(Competitor):
    """Answers with the truth, moved to the right by some pixels.

    Args:
        name: As `Competitor`'s.
        shift: In pixels of the original frame.
    """

    kind = "baseline"
    prompts = ("box", "loose_box", "point")
    clicks = False

    def __init__(self, name: str = "knowing", shift: int = 0) -> None:
        super().__init__(name)
        self.shift = shift
        self.sides: list[int] = []

    def moved(self, masks: Tensor) -> Tensor:
        """Return the masks, moved; what leaves the image is lost."""
        result = torch.zeros_like(masks)
        width = masks.shape[-1]
        result[..., self.shift :] = masks[..., : width - self.shift]
        return result

    def answers(self, batch: SamBatch, settings: EvaluationSettings) -> Iterator[Answer]:
        """One object at a time, prompt after prompt."""
        assert batch.samples is not None
        self.sides.append(max(batch.images.shape[-2:]))
        for name in settings.prompts:
            prompts = prompts_of(name, batch)
            for row, image in enumerate(batch.image_index.tolist()):
                sample = batch.samples[image]
                own = torch.tensor([int(batch.object_value[row]) - 1])
                yield Answer(
                    prompt="point1" if name == "point" else name,
                    image=image,
                    rows=torch.tensor([row]),
                    masks=self.moved(sample.masks(own)),
                    predicted_iou=torch.tensor([0.75]),
                    marks=(describe_prompt(prompts, row, batch.frames[image]),),
                )

    def instances(self, batch: SamBatch, image: int) -> Tensor:
        """All objects."""
        assert batch.samples is not None
        return self.moved(batch.samples[image].masks())
