"""Mean scores: by prompt and model, by class, by size, by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from samft.evaluation.columns import DISTANCES, Answers, Integers, ScoreTable
from samft.evaluation.grouping import (
    SizeBin,
    bin_members,
    coco_bins,
    common_items,
    group_means,
    ordered_classes,
    quartile_bins,
)
from samft.evaluation.rows import AUTOMATIC

Scores = dict[str, float]
ByModel = dict[str, Scores]
ByPrompt = dict[str, ByModel]

LEFT_OUT: Final = "left_out_"
"""Stands before the name of a score that some objects do not have: how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeScores:
    """The scores of the objects of one size.

    Args:
        bin: Which.
        num_objects: Objects of the split in it.
        scores: Means by prompt and model, over the objects all models answered.
    """

    bin: SizeBin
    num_objects: int
    scores: ByPrompt


def mean_scores(table: ScoreTable, order: Sequence[str]) -> ByPrompt:
    """Return the means over objects, by prompt and model.

    Args:
        table: Of objects.
        order: The models, in the order of tables.
    """
    found: ByPrompt = {}
    for prompt, model, answers in _compared(table, order):
        grouped = _grouped(table, answers, np.zeros(len(answers.items), np.int64), 1)
        found.setdefault(prompt, {})[model] = grouped[0]
    return found


def class_scores(
    table: ScoreTable, order: Sequence[str], classes: Sequence[str]
) -> dict[str, dict[str, ByModel]]:
    """Return the means of each class that has objects: by prompt, class and model."""
    names = ordered_classes(table, classes)
    place = {name: index for index, name in enumerate(names)}
    codes = np.array([place.get(name, -1) for name in table.class_names], np.int64)
    found: dict[str, dict[str, ByModel]] = {}
    for prompt, model, answers in _compared(table, order) if names else ():
        grouped = _grouped(table, answers, codes[table.classes[answers.items]], len(names))
        for name, scores in zip(names, grouped, strict=True):
            if scores["num_objects"]:
                found.setdefault(prompt, {}).setdefault(name, {})[model] = scores
    return found


def size_scores(table: ScoreTable, order: Sequence[str]) -> dict[str, list[SizeScores]]:
    """Return the means by size of the objects: COCO's bins, and the quartiles of their areas."""
    kinds = {"coco": coco_bins(), "quartiles": quartile_bins(table.areas)}
    return {name: _of_bins(table, order, bins) for name, bins in kinds.items()}


def image_scores(table: ScoreTable, order: Sequence[str]) -> dict[str, dict[str, ByModel]]:
    """Return the means over images, by prompt, model and class; classes as a union of objects."""
    found: dict[str, dict[str, ByModel]] = {}
    for prompt, model, answers in _compared(table, order, lambda name: name != AUTOMATIC):
        count = len(table.class_names)
        member = table.classes[answers.items]
        grouped = _grouped(table, answers, member, count, unit="num_images")
        by_class = {
            name: scores
            for name, scores in zip(table.class_names, grouped, strict=True)
            if scores["num_images"]
        }
        found.setdefault(prompt, {})[model] = by_class
    return found


def instance_scores(table: ScoreTable, order: Sequence[str]) -> ByModel:
    """Return the means over images of what models found without a prompt."""
    found: ByModel = {}
    for _, model, answers in _compared(table, order, lambda name: name == AUTOMATIC):
        member = np.zeros(len(answers.items), np.int64)
        found[model] = _grouped(table, answers, member, 1, unit="num_images")[0]
    return found


def missed(table: ScoreTable, order: Sequence[str]) -> dict[str, dict[str, dict[str, int | None]]]:
    """Return how many objects were answered with an empty mask, by prompt and model.

    Such an answer has IoU 0 and, unlike a mask in the wrong place, no distance; see
    `samft.metrics.cases`. It is not known (`None`) where no distances were measured.
    """
    found: dict[str, dict[str, dict[str, int | None]]] = {}
    iou = table.column("iou")
    distance = next((c for name in DISTANCES if (c := table.column(name)) is not None), None)
    for prompt, model, answers in _compared(table, order):
        count = None
        if iou is not None and distance is not None:
            empty = (answers.scores[:, iou] == 0) & np.isnan(answers.scores[:, distance])
            count = int(empty.sum())
        found.setdefault(prompt, {})[model] = {
            "num_missed": count,
            "num_objects": len(answers.items),
        }
    return found


def _of_bins(table: ScoreTable, order: Sequence[str], bins: Sequence[SizeBin]) -> list[SizeScores]:
    member = bin_members(table.areas, bins)
    sizes = np.bincount(member, minlength=len(bins)).tolist() if bins else []
    found: list[ByPrompt] = [{} for _ in bins]
    for prompt, model, answers in _compared(table, order) if bins else ():
        grouped = _grouped(table, answers, member[answers.items], len(bins))
        for scores, target in zip(grouped, found, strict=True):
            if scores["num_objects"]:
                target.setdefault(prompt, {})[model] = scores
    return [
        SizeScores(bin=each, num_objects=size, scores=scores)
        for each, size, scores in zip(bins, sizes, found, strict=True)
    ]


def _compared(
    table: ScoreTable, order: Sequence[str], wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[tuple[str, str, Answers]]:
    """Yield prompts and models, with their answers about what all models answered."""
    for prompt in filter(wanted, table.prompts()):
        common = common_items(table, prompt)
        for model in table.models(prompt, order):
            yield prompt, model, table.answers[prompt, model].at(common)


def _grouped(
    table: ScoreTable, answers: Answers, member: Integers, groups: int, unit: str = "num_objects"
) -> list[Scores]:
    means, left_out = group_means(answers.scores, member, groups)
    sizes = np.bincount(member[member >= 0], minlength=groups)
    return [
        _named(table.score_names, means[group].tolist(), left_out[group].tolist())
        | {unit: int(sizes[group])}
        for group in range(groups)
    ]


def _named(names: Sequence[str], means: Sequence[float], left_out: Sequence[int]) -> Scores:
    scores: Mapping[str, float] = dict(zip(names, means, strict=True))
    missing = {
        f"{LEFT_OUT}{name}": count for name, count in zip(names, left_out, strict=True) if count
    }
    return {**scores, **missing}
