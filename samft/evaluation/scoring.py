"""From answers to rows: every object by itself, and the objects of a class in an image together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from samft.evaluation.competitor import Answer, Competitor
from samft.evaluation.instance_scoring import instance_row
from samft.evaluation.rows import ImageRow, ObjectRow, Rows
from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.truth import TruthOfImage
from samft.metrics.boundary import IOU_RATIO, boundary_band
from samft.metrics.cases import Kind, kind_of
from samft.metrics.objects import mask_scores
from samft.metrics.surfaces import Mask, surface_distances
from samft.types import SamBatch

OVERLAPS = ("iou", "dice", "boundary_iou")
DISTANCES = ("hd95", "assd", "nsd")
SEMANTIC = "semantic"
"""In place of a prompt: the model said of every pixel which class it belongs to."""
_PERCENTILE = 95


def score_batch(
    competitor: Competitor,
    batch: SamBatch,
    settings: EvaluationSettings,
    class_names: Sequence[str],
) -> Rows:
    """Let a model answer a batch, and score it.

    Args:
        competitor: The model.
        batch: With its samples.
        settings: What is asked, and what is measured.
        class_names: The classes of the data.
    """
    assert batch.samples is not None  # evaluation loaders keep the samples
    truths = [TruthOfImage(sample, class_names) for sample in batch.samples]
    scorers = [_ImageScorer(competitor.name, truth, settings) for truth in truths]
    for answer in competitor.answers(batch, settings):
        # Every object is in the batch, in the sample's order: its row there is its value less one.
        rows = (batch.object_value[answer.rows.to(batch.object_value.device)] - 1).tolist()
        scorers[answer.image].add(answer, rows)
    rows_of_batch = Rows()
    for image, scorer in enumerate(scorers):
        rows_of_batch.extend(scorer.finish())
        found = competitor.instances(batch, image) if settings.automatic else None
        if found is not None:
            row = instance_row(competitor.name, found.cpu().numpy(), truths[image])
            rows_of_batch.images.append(row)
        classes = competitor.class_masks(batch, image)
        if classes is not None:
            rows_of_batch.images += scorer.semantic(classes, class_names)
    return rows_of_batch


def pair_scores(
    given: Mask, wanted: Mask, *, truth: TruthOfImage, settings: EvaluationSettings
) -> dict[str, float]:
    """Compare two masks, which may be cut to a window that holds both.

    Empty masks: by the rule of `samft.metrics.cases`.

    Args:
        given: (h, w) bool, the answer, without pixels of which nothing is known.
        wanted: (h, w) bool.
        truth: The image they are about: its diagonal, pixel size and unit.
        settings: Whether distances are measured, and the tolerance of NSD.

    Returns:
        `iou`, `dice`, `boundary_iou`; with distances also `hd95`, `assd` (in the truth's unit, NaN
        where one mask is empty) and `nsd`.
    """
    kind = kind_of(bool(given.any()), bool(wanted.any()))
    if kind != Kind.BOTH:
        right = float(kind == Kind.BOTH_EMPTY)
        far = 0.0 if right else math.nan
        scores = dict.fromkeys(OVERLAPS, right)
        return scores | ({"hd95": far, "assd": far, "nsd": right} if settings.distances else {})
    pair = (torch.from_numpy(np.ascontiguousarray(mask))[None] for mask in (given, wanted))
    iou, dice = (float(score) for score in mask_scores(*pair))
    scores = {"iou": iou, "dice": dice, "boundary_iou": _boundary_iou(given, wanted, truth)}
    if settings.distances:
        apart = surface_distances(given, wanted, spacing=truth.spacing)
        tolerance = settings.tolerance_mm if truth.unit == "mm" else settings.tolerance_px
        scores["hd95"] = apart.hausdorff(_PERCENTILE)
        scores["assd"] = apart.average()
        scores["nsd"] = apart.within(tolerance)
    return scores


def _boundary_iou(given: Mask, wanted: Mask, truth: TruthOfImage) -> float:
    """Compare the bands along both outlines, whose width follows from the whole image."""
    width = max(1, round(IOU_RATIO * truth.diagonal_px))
    first, second = boundary_band(given, width), boundary_band(wanted, width)
    return float(np.count_nonzero(first & second) / np.count_nonzero(first | second))


class _ImageScorer:
    """Scores the answers about one image.

    What it holds is a mask per prompt and class, whatever the number of objects.

    Args:
        model: Name of the model.
        truth: The image.
        settings: What is measured.
    """

    def __init__(self, model: str, truth: TruthOfImage, settings: EvaluationSettings) -> None:
        self.model = model
        self.truth = truth
        self.settings = settings
        self._objects: list[ObjectRow] = []
        self._unions: dict[tuple[str, str], Mask] = {}
        self._members: dict[str, list[int]] = {}
        for row, name in enumerate(truth.classes):
            self._members.setdefault(name, []).append(row)

    def add(self, answer: Answer, rows: Sequence[int]) -> None:
        """Score an answer about the objects at these rows of the sample."""
        thoughts = [math.nan] * len(rows)
        if answer.predicted_iou is not None:
            thoughts = answer.predicted_iou.tolist()
        masks = answer.masks.cpu().numpy()
        for row, mask, thought in zip(rows, masks, thoughts, strict=True):
            given, wanted = self.truth.against(row, mask)
            scores = pair_scores(given, wanted, truth=self.truth, settings=self.settings)
            self._objects.append(self._object_row(answer.prompt, row, scores, thought))
            self._join(answer.prompt, row, mask)

    def finish(self) -> Rows:
        """Return all rows of the image."""
        return Rows(
            objects=self._objects,
            images=[
                self._image_row(prompt, name, union)
                for (prompt, name), union in self._unions.items()
            ],
        )

    def semantic(self, masks: Tensor, class_names: Sequence[str]) -> list[ImageRow]:
        """Score a segmentation into classes, one row for each that is there or was found.

        Args:
            masks: (C, H, W) bool.
            class_names: C names; a data set without classes has the one without a name.
        """
        found = zip(masks.cpu().numpy(), class_names or ("",), strict=True)
        rows = [self._image_row(SEMANTIC, name, mask) for mask, name in found]
        return [row for row, mask in zip(rows, masks, strict=True) if row.num_objects or mask.any()]

    def _join(self, prompt: str, row: int, mask: Mask) -> None:
        key = (prompt, self.truth.classes[row])
        if key in self._unions:
            self._unions[key] |= mask
        else:
            self._unions[key] = mask.copy()

    def _object_row(
        self, prompt: str, row: int, scores: Mapping[str, float], thought: float
    ) -> ObjectRow:
        sample = self.truth.sample
        return ObjectRow(
            model=self.model,
            prompt=prompt,
            sample_id=sample.sample_id,
            case_id=sample.case_id,
            object_id=row + 1,
            class_name=self.truth.classes[row],
            area=self.truth.area(row),
            unit=self.truth.unit,
            scores=scores,
            predicted_iou=thought,
        )

    def _image_row(self, prompt: str, class_name: str, union: Mask) -> ImageRow:
        sample, members = self.truth.sample, self._members.get(class_name, [])
        given, wanted = self.truth.union_against(members, union)
        return ImageRow(
            model=self.model,
            prompt=prompt,
            sample_id=sample.sample_id,
            case_id=sample.case_id,
            class_name=class_name,
            num_objects=len(members),
            unit=self.truth.unit,
            scores=pair_scores(given, wanted, truth=self.truth, settings=self.settings),
        )
