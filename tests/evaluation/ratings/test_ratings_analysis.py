"""What a rating study found."""

import json
import math

import numpy as np
import pytest
from evaluation.ratings.rating_cases import targets
from scipy import stats

from samft.evaluation.ratings.analysis import analyse
from samft.evaluation.ratings.jobs import TRUTH, plan_jobs
from samft.evaluation.ratings.reading import RatedSheet
from samft.evaluation.ratings.tabulating import agreement, markdown, write_analysis


def _study(scores, *, cases=None, raters=("anna",)):
    """Return jobs and sheets; `scores` holds for each model its ratings of all objects."""
    count = len(next(iter(scores.values())))
    objects = targets(count, cases=cases)
    jobs = {job.code: job for job in plan_jobs(objects, list(scores), seed=0)}
    place = {target: number for number, target in enumerate(objects)}
    ratings = {
        code: scores[job.model][place[job.target]]
        for code, job in jobs.items()
        if scores[job.model][place[job.target]] is not None
    }
    return jobs, [RatedSheet(rater=name, ratings=ratings) for name in raters]


def test_means_intervals_and_differences_against_scipy() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(6, 11, 60).astype(float)
    second = np.clip(first - rng.integers(0, 4, 60), 1, 10)
    jobs, sheets = _study({"new": first.tolist(), "old": second.tolist()})
    found = analyse(jobs, sheets)
    new, old = found.models
    assert (new.model, old.model) == ("new", "old")
    assert new.mean == pytest.approx(first.mean())
    wanted = stats.bootstrap(
        (first,), np.mean, confidence_level=0.99, method="percentile", rng=rng, n_resamples=10_000
    ).confidence_interval
    assert (new.low, new.high) == pytest.approx((wanted.low, wanted.high), abs=0.05)
    assert new.histogram == tuple(np.bincount(first.astype(int), minlength=11)[1:].tolist())
    (pair,) = found.differences
    test = stats.ttest_rel(first, second)
    assert (pair.model, pair.reference, pair.num_objects) == ("new", "old", 60)
    assert (pair.t, pair.p) == pytest.approx((test.statistic, test.pvalue))
    assert pair.mean == pytest.approx((first - second).mean())
    assert pair.low < pair.mean < pair.high
    assert pair.clear
    gaps = first - second
    assert (pair.better, pair.worse, pair.equal) == ((gaps > 0).sum(), 0, (gaps == 0).sum())


def test_only_objects_that_both_have_are_compared() -> None:
    jobs, sheets = _study({"a": [9, 8, None, 5], "b": [7, None, 2, 5]})
    found = analyse(jobs, sheets, samples=200)
    (pair,) = found.differences
    assert (pair.num_objects, pair.mean) == (2, 1.0)
    assert {each.model: each.num_missing for each in found.models} == {"a": 1, "b": 1}
    assert (found.num_jobs, found.num_rated) == (8, 6)
    assert "2 jobs have no rating yet and are left out" in found.notes


def test_several_raters_of_a_job() -> None:
    jobs, _ = _study({"a": [1, 1]})
    first, second = jobs
    sheets = [
        RatedSheet(rater="anna", ratings={first: 8.0, second: 4.0}, num_blank=0, num_comments=1),
        RatedSheet(rater="ben", ratings={first: 6.0}, num_blank=1),
    ]
    found = analyse(jobs, sheets, samples=100)
    assert found.models[0].mean == pytest.approx((7 + 4) / 2)  # each object counts the same
    assert (found.models[0].num_objects, found.models[0].num_ratings) == (2, 3)
    assert (found.num_shared, found.mean_deviation) == (1, pytest.approx(math.sqrt(2)))
    assert [(r.num_ratings, r.num_blank, r.num_comments) for r in found.raters] == [
        (2, 0, 1),
        (1, 1, 0),
    ]
    assert "1 jobs were rated by several people" in agreement(found)
    alone = analyse(jobs, sheets[:1], samples=100)
    assert math.isnan(alone.mean_deviation)
    assert "not known" in agreement(alone)


def test_cases_in_place_of_objects_give_wider_intervals_where_they_are_alike() -> None:
    # Six cases of ten objects, all of a case rated the same.
    scores = [[3.0, 9.0, 5.0, 7.0, 2.0, 10.0][number % 6] for number in range(60)]
    jobs, sheets = _study({"a": scores}, cases=6)
    (single,) = analyse(jobs, sheets).models
    (whole,) = analyse(jobs, sheets, by="case").models
    assert whole.high - whole.low > 2 * (single.high - single.low)


def test_too_few_to_be_resampled_is_worth_a_note() -> None:
    jobs = {job.code: job for job in plan_jobs(targets(30, cases=4), ["a"], seed=0)}
    sheets = [RatedSheet(rater="anna", ratings=dict.fromkeys(jobs, 5.0))]
    assert analyse(jobs, sheets, samples=9).notes == []
    (note,) = analyse(jobs, sheets, samples=9, by="case").notes
    assert note == "fewer than 20 cases: the intervals are too narrow"


def test_equal_ratings_have_no_t() -> None:
    jobs, sheets = _study({"a": [5.0] * 30, "b": [4.0] * 30})
    found = analyse(jobs, sheets, samples=100)
    assert math.isnan(found.differences[0].t)
    assert (found.differences[0].low, found.differences[0].high) == (1.0, 1.0)


def test_a_model_that_nobody_rated() -> None:
    jobs, sheets = _study({"a": [5.0] * 3, "b": [None] * 3})
    found = analyse(jobs, sheets, samples=100)
    assert found.models[-1].model == "b"
    assert math.isnan(found.models[-1].mean)
    assert math.isnan(found.models[-1].low)
    assert found.differences[0].num_objects == 0
    assert "fewer than 20 objects" in " ".join(found.notes)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_model_above_the_truth_is_worth_a_note() -> None:
    jobs, sheets = _study({"a": [9.0, 8.0], TRUTH: [5.0, 5.0]})
    notes = analyse(jobs, sheets, samples=100).notes
    assert any("rated above the data's own masks: a" in note for note in notes)


def test_halves_are_rounded_up_in_the_histogram() -> None:
    jobs, sheets = _study({"a": [1.0, 1.5, 9.5, 10.0]})
    histogram = analyse(jobs, sheets, samples=100).models[0].histogram
    assert histogram == (1, 1, 0, 0, 0, 0, 0, 0, 0, 2)


def test_what_is_written(tmp_path) -> None:
    jobs, sheets = _study({"a|<b>": [9.0] * 4, "c": [3.0, 4.0, 3.0, 4.0]})
    found = analyse(jobs, sheets, samples=100)
    first, second = write_analysis(found, tmp_path / "new")
    plain = json.loads(first.read_text("utf-8"))
    assert (plain["format"], plain["version"]) == ("samft-ratings", 1)
    assert plain["models"][0]["mean"] == 9.0
    assert plain["differences"][0]["clear"] is True
    assert plain["mean_deviation"] is None
    text = second.read_text("utf-8")
    assert text == markdown(found)
    assert "| a\\|\\<b\\> | 4 | 4 | 9.00 | 9.00 to 9.00 |" in text
    assert "| a\\|\\<b\\> | c | 4 | +5.50 |" in text
    assert "- 7 to 9: The object is right; its boundary has minor errors." in text
    assert "   9 #################### 4" in text
