"""The differences between models and the reference, all at once, each with its interval.

`samft.metrics.bootstrap.paired_difference` draws the cases anew for every difference. Here there
are some hundred over the same cases, which share what is drawn; the results are the same, but that
a single case has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
_AT_ONCE: Final = 2_000_000  # numbers drawn at a time: 16 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How much a model's score differs from the reference's, for the same objects.

    Args:
        prompt: What both were asked with.
        score: Which score.
        model: The model.
        reference: What it is compared with.
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

    prompt: str
    score: str
    model: str
    gaps: Floats
    sums: Floats
    sizes: Floats


def paired_differences(
    table: ScoreTable,
    *,
    reference: str,
    order: Sequence[str] = (),
    level: float = 0.95,
    samples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Compare every model with a reference, for every prompt and score.

    Objects are those that all models answered. Cases are drawn with replacement, and all objects
    of a case with it, because they are no independent witnesses.

    Args:
        table: Of objects.
        reference: Name of the model that others are compared with.
        order: The models, in the order of tables.
        level: Confidence, in (0, 1).
        samples: How often to draw.
        seed: Of the draws.

    Returns:
        Sorted by prompt, model and score; nothing if the reference answered nothing.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3; groups:
    Davison and Hinkley 1997, Bootstrap Methods, section 3.8.
    """
    pairs = list(_pairs(table, reference, order))
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
    return [
        _difference(pair, reference, intervals.get(index, (math.nan, math.nan)), level)
        for index, pair in enumerate(pairs)
    ]


def _pairs(table: ScoreTable, reference: str, order: Sequence[str]) -> Iterator[_Pair]:
    for prompt in table.prompts():
        if (prompt, reference) not in table.answers:
            continue
        common = common_items(table, prompt)
        base = table.answers[prompt, reference].at(common)
        cases = np.unique(table.cases[common], return_inverse=True)[1]
        for model in table.models(prompt, order):
            if model == reference:
                continue
            gaps = table.answers[prompt, model].at(common).scores - base.scores
            for score in COMPARED:
                column = table.column(score)
                if column is not None:
                    sums, sizes = _by_case(gaps[:, column], cases)
                    yield _Pair(
                        prompt=prompt,
                        score=score,
                        model=model,
                        gaps=gaps[:, column],
                        sums=sums,
                        sizes=sizes,
                    )


def _by_case(
    gaps: Floats, cases: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[Floats, Floats]:
    """Return the sum of the known gaps of each case that has any, and their number."""
    known = np.isfinite(gaps)
    sizes = np.bincount(cases[known]).astype(np.float64)
    sums = np.bincount(cases[known], weights=gaps[known]).astype(np.float64)
    return sums[sizes > 0], sizes[sizes > 0]


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


def _difference(
    pair: _Pair, reference: str, interval: tuple[float, float], level: float
) -> Difference:
    gaps = pair.gaps[np.isfinite(pair.gaps)]
    larger, smaller = int((gaps > 0).sum()), int((gaps < 0).sum())
    lower_is_better = pair.score in DISTANCES
    return Difference(
        prompt=pair.prompt,
        score=pair.score,
        model=pair.model,
        reference=reference,
        mean=math.fsum(gaps.tolist()) / len(gaps) if len(gaps) else math.nan,
        low=interval[0],
        high=interval[1],
        level=level,
        better=smaller if lower_is_better else larger,
        worse=larger if lower_is_better else smaller,
        equal=int((gaps == 0).sum()),
        left_out=len(pair.gaps) - len(gaps),
        num_groups=len(pair.sums),
    )
