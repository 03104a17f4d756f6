"""Clicks to a quality, counted by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import trapezoid

from samft.errors import ConfigError
from samft.metrics.clicks import ClickCurve, ClicksToQuality


def test_the_first_click_that_reaches_it_counts() -> None:
    metric = ClicksToQuality((85, 90), most=4)
    metric.update(torch.tensor([[0.2, 0.86, 0.5, 0.95], [0.9, 0.1, 0.1, 0.1]]))
    metric.update(torch.tensor([[0.0, 0.0, 0.0, 0.0]]))
    values = metric.compute()
    assert values["clicks_to_85"] == pytest.approx((2 + 1 + 4) / 3)
    assert values["clicks_to_90"] == pytest.approx((4 + 1 + 4) / 3)


def test_no_object_is_no_number() -> None:
    metric = ClicksToQuality(most=2)
    metric.update(torch.zeros(0, 2))
    assert metric.compute()["clicks_to_85"].isnan()


def test_never_and_at_the_last_click_are_told_apart_by_nothing() -> None:
    metric = ClicksToQuality((90,), most=3)
    metric.update(torch.tensor([[0.0, 0.0, 0.95], [0.0, 0.0, 0.0]]))
    assert metric.compute()["clicks_to_90"] == 3


def test_click_curve_by_hand() -> None:
    metric = ClickCurve((85, 90), most=3, report=(1, 3, 5))
    metric.update(torch.tensor([[0.2, 0.86, 0.5], [0.9, 0.1, 0.1]]), case_id="a")
    metric.update(torch.tensor([[0.0, 0.0, 0.0]]), case_id="b")
    result = metric.compute()
    assert result["noc_85"] == pytest.approx((2 + 1 + 3) / 3)
    assert result["noc_90"] == pytest.approx((3 + 1 + 3) / 3)
    assert result["failed_85"] == pytest.approx(1 / 3)
    assert result["failed_90"] == pytest.approx(2 / 3)
    assert result["iou_click1"] == pytest.approx(1.1 / 3)
    assert result["iou_click3"] == pytest.approx(0.6 / 3)
    assert "iou_click5" not in result
    # Trapezoids of 1.1, 0.96, 0.6 over two steps.
    assert result["click_auc"] == pytest.approx((1.1 / 2 + 0.96 + 0.6 / 2) / 2 / 3)
    assert result["num_objects"] == 3
    assert result["num_cases"] == 2


@settings(max_examples=25, deadline=None)
@given(arrays(np.float32, (5, 4), elements=st.integers(0, 20).map(lambda each: each / 20)))
def test_click_curve_agrees_with_clicks_to_quality(iou) -> None:
    curve, clicks = ClickCurve((85, 90), most=4), ClicksToQuality((85, 90), most=4)
    curve.update(torch.from_numpy(iou[:2]), case_id="a")
    curve.update(torch.from_numpy(iou[2:]), case_id="a", first=2)
    # 0.85 in float32 is below 0.85 in float64: the older metric compares in float32.
    clicks.update(torch.from_numpy(iou))
    for quality in (85, 90):
        assert curve.compute()[f"noc_{quality}"] == pytest.approx(
            clicks.compute()[f"clicks_to_{quality}"].item()
        )
        never = (np.round(iou.astype(float), 6) < quality / 100).all(axis=1)
        assert curve.compute()[f"failed_{quality}"] == pytest.approx(never.mean())
    scores = [each.scores["click_auc"] for each in curve.per_case()]
    assert scores == pytest.approx(trapezoid(iou, axis=1) / 3)


def test_click_curve_of_one_click_and_of_nothing() -> None:
    metric = ClickCurve(most=1)
    metric.update(torch.zeros(0, 1), case_id="a")
    assert metric.compute()["click_auc"].isnan()
    assert metric.compute()["noc_85"].isnan()
    metric.update(torch.tensor([[0.5]]), case_id="b")
    assert metric.compute()["click_auc"] == 0.5
    with pytest.raises(ConfigError, match="IoU after each click") as error:
        metric.update(torch.zeros(2, 3), case_id="case_9")
    assert "case_9" in str(error.value)
    assert "give the metric most=" in str(error.value)
