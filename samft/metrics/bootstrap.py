"""Is the difference between two models more than luck? Confidence intervals by resampling cases."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from samft.errors import ConfigError

Floats = NDArray[np.float64]

_AT_ONCE = 2_000_000  # numbers drawn at a time: 16 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """The mean difference of two models' scores on the same cases.

    Args:
        mean: Mean of second minus first, over the cases.
        low: Lower end of the confidence interval.
        high: Upper end.
        level: Confidence of the interval.
        better: Cases in which the second score is larger.
        worse: Cases in which it is smaller.
        equal: Cases in which they are the same.
        left_out: Cases without a score on either side.
        num_groups: What was resampled: cases, or groups of cases.
    """

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
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired_difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    groups: Mapping[str, Hashable] | None = None,
    level: float = 0.95,
    samples: int = 10_000,
    method: Literal["percentile", "bca"] = "percentile",
    seed: int = 0,
) -> PairedDifference:
    """Compare two models case by case.

    Cases are drawn with replacement and keep both their scores; with groups (patients, videos) all
    cases of a group are drawn together, because they are no independent witnesses. Too few of
    either (below about 20) make every such interval too narrow.

    Args:
        first: Score of each case by name, such as the zero-shot model's.
        second: Likewise, such as the tuned model's.
        groups: The group of each case; `None`: every case for itself.
        level: Confidence, in (0, 1).
        samples: How often to draw.
        method: "percentile", or "bca", which corrects for bias and skewness.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        The mean difference with its interval; all NaN without a common scored case.

    Raises:
        ConfigError: if the models were scored on different cases, a case has no group, or a setting
            is out of range.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, sections 13.3 and 14.3;
    groups: Davison and Hinkley 1997, Bootstrap Methods, section 3.8.
    """
    _check(first, second, groups, level=level, samples=samples)
    names = sorted(first)
    gaps = np.array([second[name] - first[name] for name in names])
    known = np.isfinite(gaps)
    # Only the groups' sums and sizes matter to a mean of drawn groups.
    owners = [name if groups is None else groups[name] for name in names]
    number = {owner: index for index, owner in enumerate(dict.fromkeys(owners))}
    member = np.array([number[owner] for owner in owners], dtype=np.int64)[known]
    gaps = gaps[known]
    sizes = np.bincount(member, minlength=len(number)).astype(np.float64)
    sums = np.bincount(member, weights=gaps, minlength=len(number)).astype(np.float64)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    low, high = math.nan, math.nan
    if len(sums):
        draws = _draw(sums, sizes, samples=samples, seed=seed)
        low, high = _interval(draws, sums, sizes, level=level, corrected=method == "bca")
    return PairedDifference(
        mean=math.fsum(gaps.tolist()) / len(gaps) if len(gaps) else math.nan,
        low=low,
        high=high,
        level=level,
        better=int((gaps > 0).sum()),
        worse=int((gaps < 0).sum()),
        equal=int((gaps == 0).sum()),
        left_out=int((~known).sum()),
        num_groups=len(sums),
    )


def _interval(
    draws: Floats, sums: Floats, sizes: Floats, *, level: float, corrected: bool
) -> tuple[float, float]:
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if corrected:
        tails = _corrected(tails, draws, sums, sizes)
    low, high = np.percentile(draws, 100 * tails).tolist()
    return low, high


def _draw(sums: Floats, sizes: Floats, *, samples: int, seed: int) -> Floats:
    """Return the mean over the cases of drawn groups, (samples,)."""
    generator = np.random.default_rng(seed)
    count = len(sums)
    means = []
    for start in range(0, samples, step := max(1, _AT_ONCE // count)):
        drawn = generator.integers(count, size=(min(step, samples - start), count))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(means)


def _corrected(tails: Floats, draws: Floats, sums: Floats, sizes: Floats) -> Floats:
    """Return the percentiles that BCa reads off instead of `tails`."""
    mean = sums.sum() / sizes.sum()
    if len(sums) < 2 or np.ptp(draws) == 0:
        return tails
    below = (np.count_nonzero(draws < mean) + np.count_nonzero(draws <= mean)) / (2 * len(draws))
    bias = norm.ppf(below)
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    gaps = without.mean() - without
    skew = (gaps**3).sum() / (6 * ((gaps**2).sum()) ** 1.5) if gaps.any() else 0.0
    points = bias + norm.ppf(tails)
    corrected: Floats = norm.cdf(bias + points / (1 - skew * points))
    return corrected


def _check(
    first: Mapping[str, float],
    second: Mapping[str, float],
    groups: Mapping[str, Any] | None,
    *,
    level: float,
    samples: int,
) -> None:  # Any: only the keys count
    _same_cases("two models were not scored on the same cases", first, second)
    if groups is not None:
        _same_cases("a case has no group", first, {name: 0 for name in first if name in groups})
    if not 0 < level < 1 or samples < 1:
        raise ConfigError(
            "an interval cannot be drawn like this",
            found=f"level {level}, samples {samples}",
            expected="a level between 0 and 1, at least one sample",
        )


def _same_cases(what: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    # Any: only the keys count
    only: Sequence[str] = sorted(set(first) ^ set(second))
    if only:
        raise ConfigError(
            what,
            found=f"{len(only)} on one side only, such as {only[0]!r}",
            expected=f"the same {len(first)} cases",
        )
