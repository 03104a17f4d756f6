"""The queue of jobs."""

from collections import Counter
from itertools import pairwise

import pytest
from evaluation.ratings.rating_cases import targets

from samft.errors import ConfigError
from samft.evaluation.ratings.jobs import TRUTH, plan_jobs
from samft.evaluation.ratings.scale import ANCHORS, HIGHEST, LOWEST, anchor_of
from samft.evaluation.ratings.settings import RatingSettings


def test_every_model_has_a_job_for_every_object_in_a_random_order() -> None:
    objects, models = targets(30), ["a", "b", TRUTH]
    jobs = plan_jobs(objects, models, seed=1)
    assert [job.code for job in jobs[:2]] == ["j0001", "j0002"]
    assert {(job.model, job.target) for job in jobs} == {(m, o) for m in models for o in objects}
    assert len(jobs) == 90
    assert len({job.model for job in jobs[:20]}) == 3
    neighbours = sum(a.target == b.target for a, b in pairwise(jobs))
    assert neighbours < 15  # the masks of an object do not come one after another
    assert plan_jobs(objects, models, seed=1) == jobs
    assert plan_jobs(objects, models, seed=2) != jobs


def test_jobs_are_dealt_and_some_go_to_all() -> None:
    jobs = plan_jobs(targets(10), ["a", "b"], seed=0, raters=3, common=5)
    assert all(job.raters == (1, 2, 3) for job in jobs[:5])
    counts = Counter(job.raters for job in jobs[5:])
    assert set(counts) == {(1,), (2,), (3,)}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_nothing_to_rate_and_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to rate") as caught:
        plan_jobs([], ["a"], seed=0)
    assert caught.value.found == "0 objects, 1 models"
    with pytest.raises(ConfigError, match="the same name") as caught:
        plan_jobs(targets(1), [TRUTH, "a", TRUTH], seed=0)
    assert caught.value.found == TRUTH
    assert "NAME=PATH" in caught.value.fix


def test_the_scale_has_no_gap() -> None:
    covered = [rating for anchor in ANCHORS for rating in range(anchor.low, anchor.high + 1)]
    assert covered == list(range(LOWEST, HIGHEST + 1))
    assert [anchor_of(mean).low for mean in (1.0, 1.4, 1.6, 4.0, 5.5, 8.1, 9.4, 10.0)] == [
        1, 1, 2, 2, 5, 7, 7, 10,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [("masks", 0), ("min_side", 0), ("raters", 0), ("max_side", 10)]
)
def test_settings_out_of_range(name, value) -> None:
    with pytest.raises(ConfigError, match=f"{name} is out of range") as caught:
        RatingSettings.from_dict({name: value})
    assert caught.value.where == f"ratings.{name}"
