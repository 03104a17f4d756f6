"""Rows as columns of numbers, so that a million of them are averaged in seconds."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from samft.evaluation.rows import AUTOMATIC, ImageRow, ObjectRow

_log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Key = tuple[str, Any]  # Any: int or str
"""What is scored: a sample with the number of an object in it, or with the name of a class."""

OBJECT_SCORES: Final = ("iou", "dice", "boundary_iou", "nsd", "hd95", "assd")
"""The scores of an answer about an object, in the order of tables."""
DISTANCES: Final = ("hd95", "assd")
"""Scores in mm or pixels; lower is better, unlike with the other scores of objects."""

_ORDER: Final = ("box", "loose_box", "point")
_NUMBERED: Final = re.compile(r"(.+?)(\d+)")
_SAME = 1e-6  # two processes' arithmetic on the same image


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """The scores of one model's answers to one prompt.

    Args:
        items: (n,) ascending indices into the keys of the table.
        scores: (n, scores of the table), NaN where there is none.
        predicted_iou: (n,), NaN where nothing was predicted.
    """

    items: Integers
    scores: Floats
    predicted_iou: Floats

    def at(self, items: Integers) -> Self:
        """Return the answers about some of the items, which all must have been answered."""
        rows = np.searchsorted(self.items, items)
        return replace(
            self, items=items, scores=self.scores[rows], predicted_iou=self.predicted_iou[rows]
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoreTable:
    """What all models were scored with, by prompt and model.

    Args:
        keys: N things that were scored, sorted.
        cases: (N,) the case of each, an index into `case_names`.
        case_names: In the order in which the keys name them.
        classes: (N,) the class of each, an index into `class_names`.
        class_names: The classes that there are, sorted; "" stands for none.
        areas: (N,) true pixels; 0 where the keys are no objects.
        units: The units of distances that there are.
        score_names: The columns of `Answers.scores`.
        answers: By prompt and model.
    """

    keys: tuple[Key, ...]
    cases: Integers
    case_names: tuple[str, ...]
    classes: Integers
    class_names: tuple[str, ...]
    areas: Integers
    units: tuple[str, ...]
    score_names: tuple[str, ...]
    answers: Mapping[tuple[str, str], Answers]

    @classmethod
    def of_objects(cls, rows: Sequence[ObjectRow]) -> Self:
        """Take the rows of objects."""
        return cls._of(rows, [(row.sample_id, row.object_id) for row in rows])

    @classmethod
    def of_images(cls, rows: Sequence[ImageRow]) -> Self:
        """Take the rows of images, a key for each class of each."""
        return cls._of(rows, [(row.sample_id, row.class_name) for row in rows])

    @classmethod
    def _of(cls, rows: Sequence[ObjectRow] | Sequence[ImageRow], keys: Sequence[Key]) -> Self:
        known = sorted(set(keys))
        number = {key: index for index, key in enumerate(known)}
        items = np.fromiter((number[key] for key in keys), np.int64, len(keys))
        firsts = [rows[row] for row in np.unique(items, return_index=True)[1].tolist()]
        case_names = tuple(dict.fromkeys(row.case_id for row in firsts))
        class_names = tuple(sorted({row.class_name for row in firsts}))
        names = _score_names(rows)
        return cls(
            keys=tuple(known),
            cases=_codes([row.case_id for row in firsts], case_names),
            case_names=case_names,
            classes=_codes([row.class_name for row in firsts], class_names),
            class_names=class_names,
            areas=np.array([getattr(row, "area", 0) for row in firsts], np.int64),
            units=tuple(sorted({row.unit for row in firsts})),
            score_names=names,
            answers=_answers(rows, items, names),
        )

    def prompts(self) -> tuple[str, ...]:
        """Return the prompts that were answered, in the order of tables."""
        return tuple(sorted({prompt for prompt, _ in self.answers}, key=prompt_rank))

    def models(self, prompt: str, order: Sequence[str] = ()) -> list[str]:
        """Return the models that answered a prompt, in a given order, others last."""
        present = [model for other, model in self.answers if other == prompt]
        return [m for m in order if m in present] + [m for m in present if m not in order]

    def column(self, name: str) -> int | None:
        """Return the index of a score, `None` if nothing was scored with it."""
        return self.score_names.index(name) if name in self.score_names else None

    def without(self, names: Sequence[str]) -> Self:
        """Return a table that does not know some scores."""
        kept = [i for i, name in enumerate(self.score_names) if name not in names]
        answers = {
            key: replace(answer, scores=answer.scores[:, kept])
            for key, answer in self.answers.items()
        }
        names = tuple(self.score_names[index] for index in kept)
        return replace(self, score_names=names, answers=answers)


def prompt_rank(prompt: str) -> tuple[int, str, int]:
    """Return the place of a prompt in tables: boxes, then clicks by their number."""
    match = _NUMBERED.fullmatch(prompt)
    name, number = (match.group(1), int(match.group(2))) if match else (prompt, 0)
    place = _ORDER.index(name) if name in _ORDER else len(_ORDER) + (prompt == AUTOMATIC)
    return place, name, number


def _score_names(rows: Sequence[ObjectRow] | Sequence[ImageRow]) -> tuple[str, ...]:
    found = dict.fromkeys(name for names in {tuple(row.scores) for row in rows} for name in names)
    known = [name for name in OBJECT_SCORES if name in found]
    return (*known, *sorted(name for name in found if name not in OBJECT_SCORES))


def _codes(values: Sequence[str], names: Sequence[str]) -> Integers:
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[value] for value in values], np.int64)


def _answers(
    rows: Sequence[ObjectRow] | Sequence[ImageRow], items: Integers, names: Sequence[str]
) -> dict[tuple[str, str], Answers]:
    pairs: dict[tuple[str, str], int] = {}
    codes = np.fromiter(
        (pairs.setdefault((row.prompt, row.model), len(pairs)) for row in rows),
        np.int64,
        len(rows),
    )
    scores = np.empty((len(rows), len(names)))
    for index, name in enumerate(names):
        values = (row.scores.get(name, math.nan) for row in rows)
        scores[:, index] = np.fromiter(values, np.float64, len(rows))
    predicted = (getattr(row, "predicted_iou", math.nan) for row in rows)
    table = _Numbers(items, scores, np.fromiter(predicted, np.float64, len(rows)))
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(pairs)))
    parts = np.split(order, ends[:-1])
    found = {pair: table.once(part) for pair, part in zip(pairs, parts, strict=bool(pairs))}
    if table.unequal:
        _log.warning(
            "%d answers were scored twice with different results: the first counts. Names of "
            "samples must be unique.",
            table.unequal,
        )
    return found


class _Numbers:
    """The numbers of all rows, from which those of one model and prompt are taken."""

    def __init__(self, items: Integers, scores: Floats, predicted: Floats) -> None:
        self._items, self._scores, self._predicted = items, scores, predicted
        self.unequal = 0

    def once(self, rows: Integers) -> Answers:
        """Return some rows in the order of their items, each item once."""
        items, first, back = np.unique(self._items[rows], return_index=True, return_inverse=True)
        kept = rows[first]
        if len(kept) < len(rows):
            self._compare(rows, kept[back])
        return Answers(items=items, scores=self._scores[kept], predicted_iou=self._predicted[kept])

    def _compare(self, rows: Integers, first: Integers) -> None:
        one, other = self._scores[rows], self._scores[first]
        alike: Any = np.isclose(one, other, rtol=_SAME, atol=_SAME, equal_nan=True)
        self.unequal += int((~alike.all(axis=1)).sum())
