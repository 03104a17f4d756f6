"""Dice and IoU against counting by hand and against sklearn-free formulas on random masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samft.metrics.objects import mask_scores
from samft.metrics.overlap import OverlapScores


def test_by_hand() -> None:
    predicted = torch.tensor([[[1, 1, 1, 0], [0, 0, 0, 0]]]).bool()
    target = torch.tensor([[[0, 1, 1, 1], [1, 0, 0, 0]]]).bool()
    metric = OverlapScores()
    metric.update(predicted, target, case_id="a")
    # 2 shared, 1 too many, 2 too few.
    assert metric.compute()["dice"] == pytest.approx(4 / 7)
    assert metric.compute()["iou"] == pytest.approx(2 / 5)


def test_unknown_pixels_do_not_count() -> None:
    metric = OverlapScores()
    valid = torch.tensor([[True, True, False]])
    ones, some = torch.ones(1, 1, 3).bool(), torch.tensor([[[True, True, False]]])
    metric.update(ones, some, case_id="a", valid=valid)
    metric.update(None, ones, case_id="b", valid=valid)
    assert [each.scores["dice"] for each in metric.per_case()] == [1.0, 0.0]


def test_pooled_counts_pixels_and_the_mean_counts_cases() -> None:
    metric = OverlapScores(["large", "small"])
    right, wrong = torch.ones(1, 9).bool(), torch.zeros(1, 9).bool()
    dot = wrong.clone()
    dot[0, 0] = True
    metric.update(torch.stack([right, wrong]), torch.stack([right, dot]), case_id="a")
    metric.update(torch.stack([wrong, wrong]), torch.stack([dot, wrong]), case_id="b")
    result = metric.compute()
    assert result["iou/large"] == pytest.approx(1 / 2)
    assert result["iou_pooled/large"] == pytest.approx(9 / 10)
    assert result["iou/small"] == pytest.approx(1 / 2)  # a miss and an empty case
    assert result["iou_pooled/small"] == 0
    assert result["iou_pooled"] == pytest.approx(0.45)


SMALL = arrays(bool, (2, 3, 4, 5), elements=st.booleans())


@settings(max_examples=25, deadline=None)
@given(SMALL, SMALL)
def test_same_as_the_object_scores_on_volumes(predicted, target) -> None:
    metric = OverlapScores(["a", "b"])
    metric.update(predicted, torch.from_numpy(target), case_id="x")
    flat = (torch.from_numpy(np.ascontiguousarray(each)).flatten(2) for each in (predicted, target))
    iou, dice = mask_scores(*flat)
    scores = [each.scores for each in metric.per_case()]
    assert [each["iou"] for each in scores] == pytest.approx(iou.tolist())
    assert [each["dice"] for each in scores] == pytest.approx(dice.tolist())
    for each in scores:
        assert each["dice"] == pytest.approx(2 * each["iou"] / (1 + each["iou"]))
