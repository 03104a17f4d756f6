"""Clicks to a quality, counted by hand."""

import pytest
import torch

from samft.metrics.clicks import ClicksToQuality


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
