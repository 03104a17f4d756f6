"""The differences between models that matter, all at once, each with its interval.

`samft.metrics.bootstrap.paired_difference` draws the cases anew for every difference. Here there
are some hundred over the same cases, which share what is drawn; the results are the same, but that
a single case has no interval, and that of many cases those without a score are drawn too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from samft.evaluation.columns import DISTANCES, Floats, ScoreTable
from samft.evaluation.grouping import common_items

COMPARED: Final = ("iou", "dice", "boundary_iou", "nsd", "hd95")
"""The scores whose differences are given."""
FEWEST_CASES: Final = 6
"""With fewer cases nothing is clear: even if all agreed, a sign test would not reach 5 %."""
FEW_CASES: Final = 20
"""With fewer cases than that, bootstrap intervals are too narrow."""
_MANY_CASES: Final = 200
"""From here on it makes no difference whether cases without a score are drawn too."""
_AT_ONCE: Final = 2_000_000  # numbers drawn at a time: 16 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How much a model's score differs from another's, for the same objects.

    Args:
        prompt: What both were asked with.
        score: Which score.
        model: The model.
        reference: The other, which it is compared with.
        mean: Mean over objects of the model's score minus the reference's.
        low: Lower end of the confidence interval; NaN where there is only one case to draw.
        high: Upper end.
        level: Confidence of the interval.
        better: Objects for which the model is better: a larger score, of distances a smaller.
        worse: Objects for which it is worse.
        equal: Objects for which both are the same.
        left_out: Objects without a score on either side.
        num_groups: Cases that were resampled.
    """

    prompt: str
    score: str
    model: str
    reference: str
    mean: float
    low: float
    high: float
    level: float
    better: int
    worse: int
    equal: int
    left_out: int
    num_groups: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0, and there are enough cases for it to mean that."""
        return self.num_groups >= FEWEST_CASES and (self.low > 0 or self.high < 0)

    @property
    def gain(self) -> float:
        """The mean, positive where the model is better."""
        return -self.mean if self.score in DISTANCES else self.mean


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Pair:
    """One difference before its interval is known; sums and sizes of the cases it has."""

    difference: Difference
    sums: Floats
    sizes: Floats


def paired_differences(
    table: ScoreTable,
    *,
    reference: str | None,
    first: str | None = None,
    order: Sequence[str] = (),
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Compare every model with the reference, and one model with all others, prompt by prompt.

    Objects are those that all models answered. Cases are drawn with replacement, and all objects
    of a case with it, because they are no independent witnesses.

    Args:
        table: Of objects.
        reference: Name of the model that all others are compared with, or `None`.
        first: Name of the model that is compared with each of the others too, or `None`.
        order: The models, in the order of tables.
        level: Confidence, in (0, 1).
        samples: How often to draw.
        seed: Of the draws.

    Returns:
        Prompt by prompt: models minus the reference, then the first model minus the others; of
        each pair all scores. Nothing about models that did not answer.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3; groups:
    Davison and Hinkley 1997, Bootstrap Methods, section 3.8.
    """
    pairs = list(_pairs(table, reference, first, order, level))
    intervals: dict[int, tuple[float, float]] = {}
    for count in sorted({len(pair.sums) for pair in pairs} - {0, 1}):
        same = [index for index, pair in enumerate(pairs) if len(pair.sums) == count]
        sums = np.stack([pairs[index].sums for index in same], axis=1)
        sizes = np.stack([pairs[index].sizes for index in same], axis=1)
        tails = [50 * (1 - level), 50 * (1 + level)]
        ends = np.percentile(_draw(sums, sizes, samples=samples, seed=seed), tails, axis=0)
        intervals |= {
            index: (low, high) for index, (low, high) in zip(same, ends.T.tolist(), strict=True)
        }
    unknown = (math.nan, math.nan)
    found = []
    for index, pair in enumerate(pairs):
        low, high = intervals.get(index, unknown)
        found.append(replace(pair.difference, low=low, high=high))
    return found


def _pairs(
    table: ScoreTable, reference: str | None, first: str | None, order: Sequence[str], level: float
) -> Iterator[_Pair]:
    for prompt in table.prompts():
        common = common_items(table, prompt)
        cases = np.unique(table.cases[common], return_inverse=True)[1]
        models = table.models(prompt, order)
        scores = {model: table.answers[prompt, model].at(common).scores for model in models}
        for model, other in _compared(models, reference, first):
            gaps = scores[model] - scores[other]
            for score in COMPARED:
                column = table.column(score)
                if column is not None:
                    sums, sizes = _by_case(gaps[:, column], cases)
                    pair = _difference(gaps[:, column], prompt, score, (model, other))
                    pair = replace(pair, level=level, num_groups=int((sizes > 0).sum()))
                    yield _Pair(difference=pair, sums=sums, sizes=sizes)


def _compared(
    models: Sequence[str], reference: str | None, first: str | None
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of models that are compared, each once."""
    if reference in models:
        yield from ((model, str(reference)) for model in models if model != reference)
    if first in models and first != reference:
        yield from ((str(first), other) for other in models if other not in (first, reference))


def _by_case(
    gaps: Floats, cases: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[Floats, Floats]:
    """Return the sum of the known gaps of each case, and their number.

    Cases without any are left out, unless there are many others: then they may be drawn as well.
    They add nothing to a sum, and all differences can share what is drawn.
    """
    known = np.isfinite(gaps)
    total = int(cases.max(initial=-1)) + 1
    sizes = np.bincount(cases[known], minlength=total).astype(np.float64)
    sums = np.bincount(cases[known], weights=gaps[known], minlength=total).astype(np.float64)
    some = sizes > 0
    return (sums, sizes) if some.sum() >= _MANY_CASES else (sums[some], sizes[some])


def _draw(sums: Floats, sizes: Floats, *, samples: int, seed: int) -> Floats:
    """Return the mean over the objects of drawn cases, (samples, differences)."""
    generator = np.random.default_rng(seed)
    count = len(sums)
    means = []
    for start in range(0, samples, step := max(1, _AT_ONCE // count)):
        rows = min(step, samples - start)
        drawn = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=rows * count).reshape(rows, count)
        # How often each case was drawn, times its sum: one product for all differences.
        weights = times.astype(np.float64)
        means.append((weights @ sums) / (weights @ sizes))
    return np.concatenate(means)


def _difference(gaps: Floats, prompt: str, score: str, models: tuple[str, str]) -> Difference:
    """Return what can be said without drawing cases."""
    known = gaps[np.isfinite(gaps)]
    larger, smaller = int((known > 0).sum()), int((known < 0).sum())
    lower_is_better = score in DISTANCES
    return Difference(
        prompt=prompt,
        score=score,
        model=models[0],
        reference=models[1],
        mean=math.fsum(known.tolist()) / len(known) if len(known) else math.nan,
        low=math.nan,
        high=math.nan,
        level=math.nan,
        better=smaller if lower_is_better else larger,
        worse=larger if lower_is_better else smaller,
        equal=int((known == 0).sum()),
        left_out=len(gaps) - len(known),
        num_groups=0,
    )
