"""Calibration of predicted IoU: by hand, and rank correlation by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from samft.errors import ConfigError
from samft.metrics.calibration import IoUCalibration


def test_by_hand() -> None:
    metric = IoUCalibration(bins=2)
    metric.update(torch.tensor([0.2, 0.4]), torch.tensor([0.1, 0.3]), case_id="a")
    metric.update(torch.tensor([0.5, 1.2]), torch.tensor([0.7, 0.9]), case_id="b")
    result = metric.compute()
    # Lower bin: +0.1, +0.1; upper bin (0.5 belongs to it): -0.2 and +0.1, of 1.2 clipped to 1.
    assert result["iou_ece"] == pytest.approx((0.2 + 0.1) / 4)
    assert result["iou_mae"] == pytest.approx(0.5 / 4)
    assert result["iou_bias"] == pytest.approx(0.1 / 4)
    assert result["iou_spearman"] == 1
    assert result["num_masks"] == 4
    assert result["num_cases"] == 2
    low, high = metric.reliability()
    assert (low.low, low.high, low.count) == (0, 0.5, 2)
    assert low.predicted == pytest.approx(0.3)
    assert high.true == pytest.approx(0.8)


SHARES = arrays(np.float64, (2, 12), elements=st.integers(0, 20).map(lambda each: each / 20))


@settings(max_examples=25, deadline=None)
@given(SHARES, st.integers(1, 15))
def test_straightforward_loops(pair, bins) -> None:
    metric = IoUCalibration(bins=bins)
    metric.update(*pair, case_id="a")
    result = metric.compute()
    edges, error = np.linspace(0, 1, bins + 1), 0.0
    for index in range(bins):
        above = pair[0] >= edges[index]
        own = above & ((pair[0] < edges[index + 1]) | (index == bins - 1))
        if own.any():
            error += own.sum() / 12 * abs(pair[0][own].mean() - pair[1][own].mean())
    assert result["iou_ece"] == pytest.approx(error, abs=1e-6)
    if np.ptp(pair[0]) and np.ptp(pair[1]):
        assert result["iou_spearman"] == pytest.approx(stats.spearmanr(*pair)[0], abs=1e-6)
    else:
        assert result["iou_spearman"].isnan()
    assert sum(each.count for each in metric.reliability()) == 12


def test_nothing_and_numbers_that_do_not_fit() -> None:
    metric = IoUCalibration()
    metric.update(torch.zeros(0), torch.zeros(0), case_id="a")
    assert metric.compute()["iou_ece"].isnan()
    assert math.isnan(metric.reliability()[0].true)
    with pytest.raises(ConfigError, match="different numbers of masks") as error:
        metric.update(torch.zeros(2), torch.zeros(3), case_id="image_4")
    assert "image_4" in str(error.value)
    assert "2 and 3" in str(error.value)
