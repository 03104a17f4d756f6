"""Validation with fixed prompts: box, clicks, and whether the prompts still count.

Nothing here is random, and nothing depends on batch size, workers or processes: a prompt is a
function of its object alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.inference.masks import answer, original_masks
from samft.metrics.clicks import ClicksToQuality
from samft.metrics.objects import ObjectScores, mask_scores
from samft.metrics.sensitivity import PromptSensitivity
from samft.models.sam import Sam
from samft.prompts.background import out_of_reach
from samft.prompts.rounds import Round, interactive_rounds
from samft.prompts.sampling import center_points
from samft.prompts.settings import PromptSettings
from samft.prompts.simulators import CenterPoint, PromptSimulator, TightBox
from samft.types import POSITIVE, MaskOutput, PromptBatch, SamBatch

PromptKind = Literal["box", "point"]
PROMPTS: dict[PromptKind, PromptSimulator] = {"box": TightBox(), "point": CenterPoint()}
"""The prompts of validation: the object's tight box, and the pixel farthest from its boundary."""

_REPORTED_CLICKS = (1, 3, 5, 9)
CLICKED_AT_ONCE = 16
"""Objects that are clicked at in one go: a bound on memory."""


class Validation(nn.Module):
    """Scores the objects of batches and keeps the sums.

    `val/iou_box` and `val/iou_point1` are the answers to the two prompts. With more `clicks` a
    person is played who clicks into the largest error again and again, the last mask handed back:
    `val/iou_point3`, `5` and `9`, and the mean number of clicks to an IoU of 85 and 90 %.

    Args:
        prompts: Prompt types.
        clicks: Most clicks of the point prompt.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.1 and appendix D.1 (centre points,
    1 to 9 clicks).
    """

    def __init__(self, prompts: Sequence[PromptKind], *, clicks: int = 1) -> None:
        super().__init__()
        self.prompts = tuple(prompts)
        self.clicks = clicks
        reported = [f"point{n}" for n in _REPORTED_CLICKS if n <= clicks]
        names = (["box"] if "box" in prompts else []) + (reported if "point" in prompts else [])
        self.overlaps = nn.ModuleDict({name: ObjectScores() for name in names})
        self.effort = ClicksToQuality(most=clicks)
        self.sensitivity = PromptSensitivity()

    @property
    def names(self) -> list[str]:
        """What `compute` returns."""
        found = [f"{score}_{kind}" for kind in self.overlaps for score in ("iou", "dice")]
        if "point" in self.prompts:
            found += ["clicks_to_85", "clicks_to_90"] if self.clicks > 1 else []
            found += ["same_answer", "background_hit"]
        return [*found, "iou"]

    def update(self, sam: Sam, batch: SamBatch, embeddings: Tensor) -> None:
        """Score a batch.

        Args:
            sam: The model.
            batch: With its samples.
            embeddings: (B, D, h, w) of its images.
        """
        if "box" in self.prompts:
            output = answer(sam, embeddings, simulate("box", batch))
            iou, dice = _score(output, batch)
            self._overlap("box").update(iou, dice)
        if "point" not in self.prompts:
            return
        every = torch.arange(batch.num_objects, device=embeddings.device)
        parts = [part for part in torch.split(every, CLICKED_AT_ONCE) if len(part)]
        answers = [self._click(sam, batch.select(part), embeddings) for part in parts]
        if answers:
            self._compare(sam, batch, embeddings, torch.cat(answers))

    def compute(self) -> dict[str, Tensor]:
        """Return all scores and start anew; `iou` is the mean of box and first point."""
        values: dict[str, Tensor] = {}
        for kind in self.overlaps:
            metric = self._overlap(kind)
            values |= {f"{score}_{kind}": value for score, value in metric.compute().items()}
        if "point" in self.prompts:
            values |= self.effort.compute() if self.clicks > 1 else {}
            values |= self.sensitivity.compute()
        first = [values[name] for name in ("iou_box", "iou_point1") if name in values]
        values["iou"] = torch.stack(first).mean()
        for kind in self.overlaps:
            self._overlap(kind).reset()
        self.effort.reset()
        self.sensitivity.reset()
        return values

    def _click(self, sam: Sam, batch: SamBatch, embeddings: Tensor) -> Tensor:
        """Score the answers after each click, and return the first ones, (P, S / 4, S / 4) bool."""
        ious, answers = [], []
        for item in click_rounds(sam, batch, embeddings, clicks=self.clicks):
            if item.index == 0:
                answers.append(item.output.logits[:, 0] > 0)
            iou, dice = _score(item.output, batch)
            ious.append(iou)
            if item.index + 1 in _REPORTED_CLICKS:
                self._overlap(f"point{item.index + 1}").update(iou, dice)
        if self.clicks > 1:
            self.effort.update(torch.stack(ious, dim=1))
        return answers[0]

    def _compare(self, sam: Sam, batch: SamBatch, embeddings: Tensor, answers: Tensor) -> None:
        """Look whether different prompts about an image got different answers."""
        size = (answers.shape[-2], answers.shape[-1])
        for image in range(len(batch.frames)):
            rows = torch.nonzero(batch.image_index == image).flatten()
            part = batch.select(rows)
            truth = part.masks()
            background = _answer_to_background(sam, embeddings, image, batch, truth)
            small = F.interpolate(truth[:, None].float(), size=size, mode="area")[:, 0] > 0.5
            self.sensitivity.update(answers[rows], small, background)

    def _overlap(self, kind: str) -> ObjectScores:
        metric = self.overlaps[kind]
        assert isinstance(metric, ObjectScores)  # the only kind put there
        return metric


def simulate(kind: PromptKind, batch: SamBatch) -> PromptBatch:
    """Return the validation prompts of a batch's objects."""
    generator = torch.Generator(batch.images.device)  # nothing draws from it
    return PROMPTS[kind](batch.masks(), batch.image_index, generator=generator)


def click_rounds(sam: Sam, batch: SamBatch, embeddings: Tensor, *, clicks: int) -> Iterator[Round]:
    """Play a person who clicks at objects' centres, then into the largest error of each answer.

    The first click is answered with the best of three masks; after each further one the last mask
    is handed back, and one mask is the answer. A pass of the decoder runs when it is asked for.

    Args:
        sam: The model.
        batch: Its objects are clicked at, all at once.
        embeddings: (B, D, h, w) of its images.
        clicks: How many, at least 1.

    Yields:
        `clicks` rounds, each with one mask per object.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.1 and appendix D.1.
    """
    prompts = simulate("point", batch)
    first = answer(sam, embeddings, prompts)
    if clicks == 1:
        yield Round(prompts=prompts, output=first, multimask=True, index=0)
        return

    def decode(prompts: PromptBatch, multimask: bool) -> MaskOutput:
        return first if multimask else sam.decode(embeddings, prompts, multimask=False)

    yield from interactive_rounds(
        decode,
        batch.masks(),
        batch.image_index,
        PromptSettings(rounds=clicks - 1, extra_passes=0, click="center"),
        simulator=PROMPTS["point"],
        generator=torch.Generator(embeddings.device),  # nothing draws from it
        ignored=out_of_reach(batch, batch.image_index, batch.ignored()),
    )


def _score(output: MaskOutput, batch: SamBatch) -> tuple[Tensor, Tensor]:
    """Return IoU and Dice (P,) of one mask per object, at the original resolution."""
    assert batch.samples is not None  # evaluation loaders keep the samples
    device = output.logits.device
    iou, dice = (torch.zeros(batch.num_objects, device=device) for _ in range(2))
    for chunk in original_masks(output, batch.image_index, batch.frames):
        sample = batch.samples[chunk.image]
        objects = (batch.object_value[chunk.rows] - 1).long().cpu()
        truth, ignored = sample.masks(objects), sample.ignored(objects)
        iou[chunk.rows], dice[chunk.rows] = mask_scores(
            chunk.masks, truth.to(device), valid=~ignored.to(device)
        )
    return iou, dice


def _answer_to_background(
    sam: Sam, embeddings: Tensor, image: int, batch: SamBatch, truth: Tensor
) -> Tensor:
    """Return (C, h, w) bool, the answer to a click far from all objects; C is 0 or 1."""
    height, width = batch.frames[image].input_size
    free = torch.zeros(truth.shape[-2:], dtype=torch.bool, device=truth.device)
    free[:height, :width] = (batch.layers[image, :, :height, :width] == 0).all(dim=0)
    points, found = center_points(free[None])
    prompts = PromptBatch(
        image_index=torch.full((1,), image, device=truth.device),
        points=points[:, None],
        labels=torch.full((1, 1), POSITIVE, device=truth.device),
    ).select(found)
    return answer(sam, embeddings, prompts).logits[:, 0] > 0
