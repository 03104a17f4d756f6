import math

import numpy as np
import pytest
from evaluation_tables import NAN, object_row

from samft.evaluation.columns import ScoreTable
from samft.evaluation.differences import Difference, paired_differences
from samft.metrics.bootstrap import paired_difference


def random_rows(cases: int, *, holes: float = 0.0) -> list:
    rng = np.random.default_rng(3)
    rows = []
    for case in range(cases):
        for number in range(1, 2 + case % 3):
            for model in ("tuned", "zero-shot", "third"):
                iou, hd95 = rng.random(), rng.exponential(5)
                rows.append(
                    object_row(
                        model,
                        "box",
                        f"c{case:02d}",
                        number,
                        iou=iou,
                        hd95=NAN if rng.random() < holes else hd95,
                    )
                )
    return rows


@pytest.mark.parametrize(("score", "holes"), [("iou", 0.0), ("hd95", 0.5)])
def test_the_same_as_one_difference_after_the_other(score: str, holes: float):
    rows = random_rows(31, holes=holes)
    found = paired_differences(
        ScoreTable.of_objects(rows), reference="zero-shot", level=0.9, samples=700, seed=5
    )
    for model in ("tuned", "third"):
        sides = {
            name: {
                f"{row.sample_id}/{row.object_id}": row.scores[score]
                for row in rows
                if row.model == name
            }
            for name in (model, "zero-shot")
        }
        expected = paired_difference(
            sides["zero-shot"],
            sides[model],
            groups={key: key[:3] for key in sides[model]},
            level=0.9,
            samples=700,
            seed=5,
        )
        own = next(each for each in found if (each.model, each.score) == (model, score))
        assert own.mean == expected.mean
        assert (own.low, own.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
        counts = (expected.better, expected.worse)
        assert (own.better, own.worse) == (counts[::-1] if score == "hd95" else counts)
        assert own.left_out == expected.left_out
        assert own.num_groups == expected.num_groups


def test_the_first_model_is_compared_with_every_other_one():
    rows = random_rows(31)
    table = ScoreTable.of_objects(rows)
    both = paired_differences(table, reference="zero-shot", first="tuned", samples=300)
    pairs = [(each.model, each.reference) for each in both if each.score == "iou"]
    assert pairs == [("tuned", "zero-shot"), ("third", "zero-shot"), ("tuned", "third")]
    # The same as if the other one were the reference.
    alone = paired_differences(table, reference="third", samples=300)
    own = [each for each in both if each.reference == "third"]
    assert own == [each for each in alone if each.model == "tuned"]
    without = paired_differences(table, reference=None, first="tuned", samples=300)
    assert {(each.model, each.reference) for each in without} == {
        ("tuned", "zero-shot"),
        ("tuned", "third"),
    }


def test_of_many_cases_those_without_a_score_make_no_difference():
    rows = random_rows(400, holes=0.3)
    found = paired_differences(
        ScoreTable.of_objects(rows), reference="zero-shot", samples=2000, seed=5
    )
    own = next(each for each in found if (each.model, each.score) == ("tuned", "hd95"))
    sides = {
        name: {
            f"{row.sample_id}/{row.object_id}": row.scores["hd95"]
            for row in rows
            if row.model == name
        }
        for name in ("tuned", "zero-shot")
    }
    expected = paired_difference(
        sides["zero-shot"],
        sides["tuned"],
        groups={key: key.split("/")[0] for key in sides["tuned"]},
        samples=2000,
    )
    assert 200 < own.num_groups == expected.num_groups < 400
    assert own.mean == expected.mean
    width = expected.high - expected.low
    assert (own.low, own.high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)


def test_counts_and_mean_by_hand():
    # Differences of IoU: +.2, 0, -.1, +.3; of the distance: -1, none, +2, -4: less is better.
    tuned = [(0.7, 2.0), (0.5, 1.0), (0.4, 5.0), (0.8, 1.0)]
    before = [(0.5, 3.0), (0.5, NAN), (0.5, 3.0), (0.5, 5.0)]
    rows = [
        object_row(model, "box", f"s{number}", iou=iou, hd95=hd95)
        for model, values in (("tuned", tuned), ("zero-shot", before))
        for number, (iou, hd95) in enumerate(values)
    ]
    iou, hd95 = paired_differences(ScoreTable.of_objects(rows), reference="zero-shot", samples=200)
    assert iou.mean == pytest.approx(0.1)
    assert (iou.better, iou.worse, iou.equal, iou.left_out, iou.num_groups) == (2, 1, 1, 0, 4)
    assert hd95.mean == pytest.approx(-1.0)
    assert (hd95.better, hd95.worse, hd95.equal, hd95.left_out) == (2, 1, 0, 1)
    assert hd95.gain == pytest.approx(1.0)
    assert hd95.num_groups == 3


def test_objects_of_a_case_are_drawn_together():
    # Two cases with 9 and 1 objects: a drawn mean is .1, .9 or the mean of ten.
    rows = [
        object_row(model, "box", f"s{case}", number, iou=gain if model == "tuned" else 0.0)
        for model in ("tuned", "zero-shot")
        for case, (count, gain) in enumerate(((9, 0.1), (1, 0.9)))
        for number in range(1, count + 1)
    ]
    (found,) = paired_differences(ScoreTable.of_objects(rows), reference="zero-shot")
    assert found.mean == pytest.approx(0.18)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.9))


@pytest.mark.parametrize(("cases", "clear"), [(5, False), (6, True)])
def test_nothing_is_clear_from_very_few_cases(cases: int, clear: bool):
    rows = [
        object_row(model, "box", f"s{case}", iou=iou)
        for model, iou in (("tuned", 0.9), ("zero-shot", 0.5))
        for case in range(cases)
    ]
    (found,) = paired_differences(ScoreTable.of_objects(rows), reference="zero-shot", samples=100)
    assert found.low == pytest.approx(0.4)
    assert found.clear is clear


def test_an_interval_over_zero_is_not_clear():
    values = dict.fromkeys(("low", "mean", "high"), 0.0)
    common = {"prompt": "box", "score": "iou", "model": "a", "reference": "b", "level": 0.95}
    counts = {"better": 1, "worse": 1, "equal": 0, "left_out": 0, "num_groups": 100}
    for low, high, clear in ((-0.1, 0.1, False), (0.1, 0.2, True), (-0.2, -0.1, True)):
        ends = {**values, "low": low, "high": high}
        assert Difference(**common, **counts, **ends).clear is clear


def test_without_the_reference_or_a_common_score_there_is_nothing_to_say():
    rows = [object_row("tuned", "box", "a", iou=0.5)]
    assert paired_differences(ScoreTable.of_objects(rows), reference="zero-shot") == []
    assert paired_differences(ScoreTable.of_objects([]), reference="zero-shot") == []
    rows.append(object_row("zero-shot", "box", "a", iou=NAN))
    (found,) = paired_differences(ScoreTable.of_objects(rows), reference="zero-shot")
    assert all(math.isnan(value) for value in (found.mean, found.low, found.high))
    assert (found.left_out, found.num_groups, found.clear) == (1, 0, False)


def test_one_case_has_no_interval():
    rows = [
        object_row(model, "box", "s", number, iou=iou)
        for model, iou in (("tuned", 0.9), ("zero-shot", 0.5))
        for number in (1, 2)
    ]
    (found,) = paired_differences(ScoreTable.of_objects(rows), reference="zero-shot")
    assert found.mean == pytest.approx(0.4)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert (found.num_groups, found.better, found.clear) == (1, 2, False)
