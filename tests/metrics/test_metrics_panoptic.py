"""PQ and AJI by hand, by straightforward loops, and against panoptica."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samft.metrics.panoptic import AggregatedJaccard, PanopticQuality


def discs(*found: tuple[int, int, int]) -> np.ndarray:
    y, x = np.mgrid[:40, :50]
    labels = np.zeros((1, 40, 50), int)
    for value, (row, column, radius) in enumerate(found, start=1):
        labels[0, (y - row) ** 2 + (x - column) ** 2 <= radius**2] = value
    return labels


TRUTH = discs((8, 8, 6), (10, 30, 7), (28, 12, 9), (30, 38, 5))
FOUND = discs((9, 9, 6), (10, 34, 7), (28, 12, 7), (5, 45, 4))


def test_values_of_panoptica() -> None:
    metric = PanopticQuality()
    metric.update(FOUND, TRUTH, case_id="a")
    result = metric.compute()
    # panoptica 2.1.7, NaiveThresholdMatching at 0.5; TP, FP and FN are 2 each.
    assert result["pq"] == pytest.approx(0.33184858619641233)
    assert result["sq"] == pytest.approx(0.6636971723928247)
    assert result["rq"] == 0.5


LABELS = arrays(np.int64, (1, 4, 6), elements=st.integers(0, 3))


def objects(labels: np.ndarray) -> list[np.ndarray]:
    return [labels == value for value in np.unique(labels) if value > 0]


@settings(max_examples=25, deadline=None)
@given(LABELS, LABELS)
def test_pq_by_loops(predicted, target) -> None:
    given_, wanted = objects(predicted), objects(target)
    ious = [(a & b).sum() / (a | b).sum() for a in given_ for b in wanted]
    matched = [iou for iou in ious if iou > 0.5]
    half = (len(given_) + len(wanted)) / 2
    metric = PanopticQuality()
    metric.update(predicted, target, case_id="a")
    result = metric.compute()
    assert result["pq"] == pytest.approx(sum(matched) / half if half else 1)
    assert result["rq"] == pytest.approx(len(matched) / half if half else 1)
    assert result["pq_case"] == pytest.approx(result["pq"].item())


def aggregated(predicted: np.ndarray, target: np.ndarray) -> float:
    """Return AJI as Kumar's algorithm 1 reads."""
    given_, used, shared, union = objects(predicted), set(), 0, 0
    for truth in objects(target):
        ious = [(each & truth).sum() / (each | truth).sum() for each in given_]
        if not ious or max(ious) == 0:
            union += truth.sum()
            continue
        best = int(np.argmax(ious))
        used.add(best)
        shared += (given_[best] & truth).sum()
        union += (given_[best] | truth).sum()
    union += sum(each.sum() for index, each in enumerate(given_) if index not in used)
    return shared / union if union else 1.0


@settings(max_examples=25, deadline=None)
@given(LABELS, LABELS)
def test_aji_by_loops(predicted, target) -> None:
    metric = AggregatedJaccard()
    metric.update(predicted, target, case_id="a")
    result = metric.compute()
    assert result["aji"] == pytest.approx(aggregated(predicted, target))
    assert result["aji_pooled"] == pytest.approx(result["aji"].item())
    # Pairs that do not share are made of what AJI+ leaves over.
    assert 0 <= result["aji_plus"] <= 1


def test_aji_by_hand() -> None:
    # One prediction serves both true objects: AJI counts it twice, AJI+ once.
    target = np.array([[[1, 1, 1, 0, 2, 2]]])
    predicted = np.array([[[1, 1, 1, 1, 1, 1]]])
    metric = AggregatedJaccard()
    metric.update(predicted, target, case_id="a")
    result = metric.compute()
    assert result["aji"] == pytest.approx((3 + 2) / (6 + 6))
    assert result["aji_plus"] == pytest.approx(3 / (6 + 2))


def test_unknown_parts_and_empty_cases() -> None:
    metric = PanopticQuality()
    target = np.array([[[1, 1, 0, -1, -1, -1]]])
    metric.update(np.array([[[1, 1, 2, 2, 2, 0]]]), target, case_id="mostly unknown")
    assert metric.compute()["pq"] == 1
    metric.update(
        np.array([[[0, 0, 3, 3, 0, 0]]]), target * 0 + [0, 0, 0, -1, -1, -1], case_id="half"
    )
    assert metric.compute()["rq"] == pytest.approx(2 / 3)
    metric.update(TRUTH * 0, TRUTH * 0, case_id="nothing")
    metric.update(None, TRUTH, case_id="failed")
    scores = {each.case_id: each.scores for each in metric.per_case()}
    assert scores["nothing"] == {"pq_case": 1, "sq_case": 1, "rq_case": 1}
    assert scores["failed"]["pq_case"] == 0
    assert math.isnan(scores["failed"]["sq_case"])
    result = metric.compute()
    assert result["num_missing"] == result["num_both_empty"] == 1
    assert result["pq_case"] == pytest.approx((1 + 0 + 1 + 0) / 4)


def test_classes_count_the_same() -> None:
    metrics = PanopticQuality(["cell", "nucleus"]), AggregatedJaccard(["cell", "nucleus"])
    for metric in metrics:
        for name in "abc":
            metric.update(TRUTH, TRUTH, case_id=name, class_index=0)
        metric.update(TRUTH * 0, TRUTH, case_id="a", class_index=1)
    assert metrics[0].compute()["pq"] == 0.5
    assert metrics[0].compute()["sq"] == 1  # the class without a match has none
    assert metrics[1].compute()["aji"] == 0.5
    assert metrics[1].compute()["aji/nucleus"] == 0
