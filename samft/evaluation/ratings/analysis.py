"""What a rating study found: means, differences on the same objects, agreement of raters."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, Final, Literal

import numpy as np
from scipy import stats

from samft.evaluation.ratings.jobs import TRUTH, Job, ObjectKey
from samft.evaluation.ratings.reading import RatedSheet
from samft.evaluation.ratings.scale import HIGHEST, LOWEST
from samft.metrics.bootstrap import paired_difference

By = Literal["object", "case"]
LEVEL: Final = 0.99
SAMPLES: Final = 10_000
_FEW: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRating:
    """The ratings of one model.

    Args:
        model: Its name, or `TRUTH`.
        num_objects: Objects with a rating.
        num_ratings: Ratings, of all raters.
        num_missing: Jobs that nobody rated.
        mean: Mean over objects, of which each counts with the mean of its ratings.
        low: Lower end of the interval of the mean.
        high: Upper end.
        histogram: Number of ratings from 1 to 10; halves are rounded up.
    """

    model: str
    num_objects: int
    num_ratings: int
    num_missing: int
    mean: float
    low: float
    high: float
    histogram: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RatingDifference:
    """Two models on the same objects.

    Args:
        model: One of them.
        reference: The other one.
        num_objects: Objects of which both were rated.
        mean: Mean of model minus reference.
        low: Lower end of its interval.
        high: Upper end.
        t: Student's statistic of the pairs; NaN where it does not exist.
        p: Probability of one as large without any difference; NaN likewise.
        better: Objects of which the model's mask was rated higher.
        worse: Lower.
        equal: The same.
    """

    model: str
    reference: str
    num_objects: int
    mean: float
    low: float
    high: float
    t: float
    p: float
    better: int
    worse: int
    equal: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RaterRecord:
    """One rater.

    Args:
        rater: Name of the sheet.
        num_ratings: Ratings given.
        num_blank: Rows left empty.
        num_comments: Rows with a comment.
        mean: Of the ratings.
    """

    rater: str
    num_ratings: int
    num_blank: int
    num_comments: int
    mean: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RatingAnalysis:
    """What a rating study found.

    Args:
        models: The best rated first.
        differences: Of every pair of models, the better rated one first.
        raters: In the order of the sheets.
        num_jobs: Jobs of the key.
        num_rated: Of these, rated by somebody.
        num_shared: Rated by several.
        mean_deviation: Mean over these of the standard deviation (n - 1) between raters; NaN
            without any.
        level: Confidence of the intervals.
        samples: Bootstrap samples.
        by: What was resampled.
    """

    models: list[ModelRating]
    differences: list[RatingDifference]
    raters: list[RaterRecord]
    num_jobs: int
    num_rated: int
    num_shared: int
    mean_deviation: float
    level: float
    samples: int
    by: By
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return it as plain JSON, in which NaN is null."""
        plain: dict[str, Any] = _plain(asdict(self))
        for row, difference in zip(plain["differences"], self.differences, strict=True):
            row["clear"] = difference.clear
        return {"format": "samft-ratings", "version": 1, **plain}


def analyse(
    jobs: Mapping[str, Job],
    sheets: Sequence[RatedSheet],
    *,
    level: float = LEVEL,
    samples: int = SAMPLES,
    by: By = "object",
    seed: int = 0,
) -> RatingAnalysis:
    """Put the sheets and the key together.

    Args:
        jobs: By code, from the key.
        sheets: What the raters wrote.
        level: Confidence of the intervals.
        samples: Bootstrap samples.
        by: What is resampled: single objects as in SAM's paper, or cases with all their objects,
            which is right where these are alike.
        seed: Of the resampling.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix E: paired t-test and bootstrap with
    10,000 samples, 99 % intervals of the mean difference.
    """
    given: dict[str, list[float]] = {}
    for sheet in sheets:
        for code, rating in sheet.ratings.items():
            given.setdefault(code, []).append(rating)
    means: dict[str, dict[ObjectKey, float]] = {job.model: {} for job in jobs.values()}
    for code, ratings in given.items():
        means[jobs[code].model][jobs[code].target] = statistics.fmean(ratings)
    bootstrap = _Bootstrap(level=level, samples=samples, by=by, seed=seed)
    models = [_model(name, jobs, given, means[name], bootstrap) for name in sorted(means)]
    models.sort(key=lambda each: -math.inf if math.isnan(each.mean) else each.mean, reverse=True)
    order = [each.model for each in models]
    spreads = [statistics.stdev(ratings) for ratings in given.values() if len(ratings) > 1]
    return RatingAnalysis(
        models=models,
        differences=[
            _difference(first, second, means, bootstrap) for first, second in combinations(order, 2)
        ],
        raters=[_rater(sheet) for sheet in sheets],
        num_jobs=len(jobs),
        num_rated=len(given),
        num_shared=len(spreads),
        mean_deviation=statistics.fmean(spreads) if spreads else math.nan,
        level=level,
        samples=samples,
        by=by,
        notes=_notes(models, len(jobs) - len(given)) + _too_few(means, by),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Bootstrap:
    """Intervals of a mean over objects."""

    level: float
    samples: int
    by: By
    seed: int

    def interval(self, values: Mapping[ObjectKey, float]) -> tuple[float, float]:
        names = {str(number): target for number, target in enumerate(values)}
        groups = {name: (target.data, target.case_id) for name, target in names.items()}
        found = paired_difference(
            dict.fromkeys(names, 0.0),
            {name: values[target] for name, target in names.items()},
            groups=groups if self.by == "case" else None,
            level=self.level,
            samples=self.samples,
            seed=self.seed,
        )
        return found.low, found.high


def _model(
    name: str,
    jobs: Mapping[str, Job],
    given: Mapping[str, Sequence[float]],
    means: Mapping[ObjectKey, float],
    bootstrap: _Bootstrap,
) -> ModelRating:
    own = [code for code, job in jobs.items() if job.model == name]
    ratings = [rating for code in own for rating in given.get(code, ())]
    low, high = bootstrap.interval(means)
    counts = [0] * (HIGHEST - LOWEST + 1)
    for rating in ratings:
        counts[math.floor(rating + 0.5) - LOWEST] += 1
    return ModelRating(
        model=name,
        num_objects=len(means),
        num_ratings=len(ratings),
        num_missing=sum(code not in given for code in own),
        mean=statistics.fmean(means.values()) if means else math.nan,
        low=low,
        high=high,
        histogram=tuple(counts),
    )


def _difference(
    model: str,
    reference: str,
    means: Mapping[str, Mapping[ObjectKey, float]],
    bootstrap: _Bootstrap,
) -> RatingDifference:
    both = [target for target in means[model] if target in means[reference]]
    gaps = {target: means[model][target] - means[reference][target] for target in both}
    low, high = bootstrap.interval(gaps)
    t, p = _t_test(list(gaps.values()))
    return RatingDifference(
        model=model,
        reference=reference,
        num_objects=len(both),
        mean=statistics.fmean(gaps.values()) if gaps else math.nan,
        low=low,
        high=high,
        t=t,
        p=p,
        better=sum(gap > 0 for gap in gaps.values()),
        worse=sum(gap < 0 for gap in gaps.values()),
        equal=sum(gap == 0 for gap in gaps.values()),
    )


def _t_test(gaps: Sequence[float]) -> tuple[float, float]:
    """Return t and p of paired differences; NaN where they are too few or all the same."""
    if len(gaps) < 2 or np.ptp(gaps) == 0:
        return math.nan, math.nan
    found = stats.ttest_1samp(gaps, 0.0)
    return float(found.statistic), float(found.pvalue)


def _rater(sheet: RatedSheet) -> RaterRecord:
    ratings = list(sheet.ratings.values())
    return RaterRecord(
        rater=sheet.rater,
        num_ratings=len(ratings),
        num_blank=sheet.num_blank,
        num_comments=sheet.num_comments,
        mean=statistics.fmean(ratings) if ratings else math.nan,
    )


def _notes(models: Sequence[ModelRating], missing: int) -> list[str]:
    notes = []
    if missing:
        notes.append(f"{missing} jobs have no rating yet and are left out")
    truth = next((each for each in models if each.model == TRUTH), None)
    above = [each.model for each in models if truth is not None and each.mean > truth.mean]
    if above:
        notes.append(
            f"rated above the data's own masks: {', '.join(above)}; look at the data's masks"
        )
    return notes


def _too_few(means: Mapping[str, Mapping[ObjectKey, float]], by: By) -> list[str]:
    """Return a note if what is resampled is too little to be resampled."""
    units = [
        {(each.data, each.case_id) for each in rated} if by == "case" else rated
        for rated in means.values()
    ]
    if any(0 < len(each) < _FEW for each in units):
        return [f"fewer than {_FEW} {by}s: the intervals are too narrow"]
    return []


def _plain(value: Any) -> Any:  # Any: JSON
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
