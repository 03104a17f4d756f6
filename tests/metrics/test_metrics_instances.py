"""Objects matched: by hand, by exhaustive search, and as label layers and RLE masks alike."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from samft.errors import ConfigError
from samft.metrics.instances import THRESHOLDS, InstanceScores
from samft.metrics.matching import match, match_by_iou, match_by_score, overlaps


def rles(labels: np.ndarray) -> list:
    values = [value for value in np.unique(labels) if value > 0]
    return [coco_mask.encode(np.asfortranarray((labels == v).astype(np.uint8))) for v in values]


def rows(*lines: str) -> np.ndarray:
    """Return one label layer; digits are objects, dots background, ? unknown."""
    return np.array(
        [
            [{".": 0, "?": -1}.get(c) or int(c.replace(".", "0").replace("?", "-1")) for c in line]
            for line in lines
        ]
    )[None]


TRUTH = rows("1111....", "1111..22", "......22", "333.....")
FOUND = rows("111.....", "111...44", ".....444", "333..5..")


def test_overlaps_by_hand() -> None:
    pairs = overlaps(FOUND, TRUTH)
    assert pairs.predicted.tolist() == [0, 1, 2]
    assert pairs.target.tolist() == [0, 2, 1]
    assert pairs.shared.tolist() == [6, 3, 4]
    assert pairs.iou.tolist() == [6 / 8, 1, 4 / 5]
    assert pairs.predicted_area.tolist() == [6, 3, 5, 1]


def test_scores_by_hand() -> None:
    metric = InstanceScores()
    metric.update(FOUND, TRUTH, case_id="a")
    metric.update(FOUND * 0, TRUTH, case_id="b")
    result = metric.compute()
    # Case a: IoU 0.75, 0.8 and 1 of three; four predictions. Case b finds nothing.
    assert result["f1_50"] == pytest.approx(2 * 3 / (4 + 6))
    assert result["precision_75"] == pytest.approx(3 / 4)
    assert result["recall_75"] == pytest.approx(3 / 6)
    # At 50 ... 75 three match (3 / 4), at 80 two (2 / 5), from 85 on one (1 / 6).
    assert result["msa"] == pytest.approx((6 * 3 / 4 + 2 / 5 + 3 / 6) / 10 / 2)
    # IoU has to be above: 0.75 fails at 75, 0.8 at 80.
    assert result["map_dsb"] == pytest.approx((5 * 3 / 4 + 2 / 5 + 1 / 6 + 3 / 6) / 10 / 2)


def test_unknown_pixels_and_layers() -> None:
    unknown = rows("11??", "11??")
    pairs = overlaps(rows("1122", "1111"), unknown)
    assert pairs.predicted_area.tolist() == [4]  # what lies only in the unknown is left out
    assert pairs.iou.tolist() == [1]
    layered = np.concatenate([rows("11.", "..."), rows(".22", "...")])
    pairs = overlaps(layered, rows("11.", "222"))
    assert sorted(zip(pairs.predicted, pairs.target, pairs.shared, strict=True)) == [
        (0, 0, 2),
        (1, 0, 1),
    ]


def test_volumes_and_tensors_with_any_labels() -> None:
    target = torch.zeros(1, 3, 4, 5, dtype=torch.int32)
    target[0, 0], target[0, 2, :2] = 70_000, 9  # more than there are pixels
    pairs = overlaps(target.numpy().astype(np.uint32), target)
    assert pairs.target_area.tolist() == [10, 20]
    assert pairs.iou.tolist() == [1, 1]


LABELS = arrays(np.int64, (1, 5, 6), elements=st.integers(0, 4))


@settings(max_examples=25, deadline=None)
@given(LABELS, LABELS)
def test_layers_and_rles_agree(predicted, target) -> None:
    layered, encoded = overlaps(predicted, target), overlaps(rles(predicted[0]), rles(target[0]))
    for name in ("predicted", "target", "shared", "predicted_area", "target_area"):
        assert getattr(layered, name).tolist() == getattr(encoded, name).tolist()


def exhaustive(table: list[list[Fraction]], percent: int, *, count_first: bool) -> tuple:
    """Return number of pairs and summed IoU of the best one-to-one matching of all there are."""
    if len(table) > len(table[0] if table else []):
        table = [list(column) for column in zip(*table, strict=True)]
    best = (0, Fraction(0))
    for size in range(1, len(table) + 1):
        for chosen in combinations(range(len(table)), size):
            for partners in permutations(range(len(table[0])), size):
                ious = [table[i][j] for i, j in zip(chosen, partners, strict=True)]
                if all(iou > 0 and iou * 100 >= percent for iou in ious):
                    found = (len(ious), sum(ious))
                    best = max(best, found, key=lambda each: each if count_first else each[::-1])
    return best


# Masks that may overlap, so that one may match several.
LOOSE = st.lists(arrays(bool, (2, 4), elements=st.booleans()), min_size=1, max_size=4)


@settings(max_examples=25, deadline=None)
@given(LOOSE, LOOSE, st.sampled_from([0, 20, 50]))
def test_matching_is_the_best_there_is(predicted, target, percent) -> None:
    encode = [
        [coco_mask.encode(np.asfortranarray(m.astype(np.uint8))) for m in side]
        for side in (predicted, target)
    ]
    pairs = overlaps(*encode)
    table = [
        [Fraction(int((a & b).sum()), max(int((a | b).sum()), 1)) for b in target]
        for a in predicted
    ]
    for chosen, count_first in (
        (match(pairs.reaching(percent)), True),
        (match_by_iou(pairs.reaching(percent)), False),
    ):
        assert len(set(chosen.predicted)) == len(set(chosen.target)) == len(chosen.target)
        count, total = exhaustive(table, percent, count_first=count_first)
        assert chosen.iou.sum() == pytest.approx(float(total))
        assert not count_first or len(chosen.iou) == count


def span(first: int, last: int) -> dict:
    mask = np.zeros((1, 20), np.uint8, order="F")
    mask[0, first:last] = 1
    return coco_mask.encode(mask)


def test_more_pairs_or_better_ones() -> None:
    # IoU: 9 / 10 of the first two; 3 / 13 across.
    pairs = overlaps([span(4, 13), span(0, 6)], [span(3, 13), span(10, 17)])
    assert sorted(pairs.iou) == pytest.approx([3 / 13, 3 / 13, 9 / 10])
    assert match(pairs).iou.tolist() == pytest.approx([3 / 13, 3 / 13])
    assert match_by_iou(pairs).iou.tolist() == [9 / 10]


def test_greedy_takes_the_best_scored_first() -> None:
    # Prediction 0 covers 1 and 2; prediction 1 only 1.
    target = rles(rows("1122")[0])
    predicted = rles(rows("1110")[0]) + rles(rows("1100")[0])
    pairs = overlaps(predicted, target)
    first = match_by_score(pairs, np.array([0.9, 0.1]))
    assert list(zip(first.predicted, first.target, strict=True)) == [(0, 0)]
    last = match_by_score(pairs, np.array([0.1, 0.9]))
    assert sorted(zip(last.predicted, last.target, strict=True)) == [(0, 1), (1, 0)]
    assert len(match(pairs).iou) == 2
    metric = InstanceScores(thresholds=(20, 50), report=(20,), rule="greedy")
    metric.update(predicted, target, case_id="a", scores=torch.tensor([0.9, 0.1]))
    assert metric.compute()["recall_20"] == 0.5


def test_thresholds_are_exact() -> None:
    # IoU 3 / 5 is at 60 %, which 0.6000000000000001 of an arange is not.
    metric = InstanceScores(thresholds=(60,), report=(60,))
    metric.update(rows("111.."), rows("11111"), case_id="a")
    assert metric.compute()["f1_60"] == 1
    assert metric.compute()["map_dsb"] == 0
    assert THRESHOLDS == (50, 55, 60, 65, 70, 75, 80, 85, 90, 95)


def test_empty_cases_and_classes() -> None:
    metric = InstanceScores(["cell", "debris"])
    metric.update(TRUTH * 0, TRUTH * 0, case_id="a", class_index=1)
    metric.update(None, TRUTH, case_id="b")
    metric.update([], [], case_id="c")
    metric.update([], rles(TRUTH[0]), case_id="d")
    metric.update(None, rles(TRUTH[0]), case_id="e")
    result = metric.compute()
    assert result["msa/debris"] == result["f1_50/debris"] == 1
    assert result["msa/cell"] == pytest.approx(1 / 4)
    assert result["f1_50/cell"] == 0
    assert result["num_missing"] == result["num_both_empty"] == 2
    assert result["num_missed"] == 1


def test_cases_without_anything_are_skipped_or_wrong() -> None:
    for both_empty, name in (("perfect", 1.0), ("skip", math.nan)):
        metric = InstanceScores(both_empty=both_empty)
        metric.update([], [], case_id="a")
        result = metric.compute()
        assert [result["f1_50"].item(), result["msa"].item()] == pytest.approx(
            [name] * 2, nan_ok=True
        )
    metric.update(None, [], case_id="b")
    assert metric.compute()["f1_50"] == metric.compute()["msa"] == 0


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="objects in two forms") as error:
        overlaps(TRUTH, rles(TRUTH[0]))
    assert "both as label layers" in str(error.value)
    with pytest.raises(ConfigError, match=r"\(1, 4, 8\) and \(1, 4, 7\)"):
        overlaps(TRUTH, TRUTH[..., :-1])
    with pytest.raises(ConfigError, match="masks of different images") as error:
        overlaps(rles(TRUTH[0]), rles(TRUTH[0, :, 1:]))
    assert "[4, 7]" in str(error.value) or "(4, 7)" in str(error.value)


def test_many_objects_are_fast() -> None:
    target = np.kron(np.arange(1, 2501).reshape(1, 50, 50), np.ones((1, 8, 8), int))
    metric = InstanceScores()
    metric.update(np.roll(target, 1, axis=2), target, case_id="a")
    # Seven of nine columns shared, but for the last column of cells, which lies on both sides.
    assert metric.compute()["recall_75"] == pytest.approx(1, abs=0.03)
