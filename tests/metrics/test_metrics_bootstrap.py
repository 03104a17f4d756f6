"""Paired intervals: exact for two cases, and scipy's for many."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from samft.errors import ConfigError
from samft.metrics.bootstrap import paired_difference


def named(values) -> dict[str, float]:
    return {f"case_{index:03}": float(value) for index, value in enumerate(values)}


def test_two_cases_are_four_draws() -> None:
    # Means of two draws from 0 and 1: 0, 1/2, 1/2, 1.
    found = paired_difference(named([0.5, 0.5]), named([0.5, 1.5]), level=0.4, samples=4000)
    assert found.mean == 0.5
    assert (found.low, found.high) == (0.5, 0.5)
    wide = paired_difference(named([0.5, 0.5]), named([0.5, 1.5]), level=0.9)
    assert (wide.low, wide.high) == (0, 1)
    assert (wide.better, wide.worse, wide.equal) == (1, 0, 1)
    assert not wide.clear
    assert wide.num_groups == 2


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_intervals_of_scipy(method) -> None:
    generator = np.random.default_rng(3)
    first, second = generator.random(60), generator.random(60) ** 0.4
    found = paired_difference(named(first), named(second), method=method, samples=20_000)
    expected = stats.bootstrap(
        (second - first,), np.mean, n_resamples=20_000, method=method, rng=generator
    ).confidence_interval
    # Two draws of 20,000 differ by about a hundredth of the interval.
    tolerance = 0.03 * (expected.high - expected.low)
    assert found.low == pytest.approx(expected.low, abs=tolerance)
    assert found.high == pytest.approx(expected.high, abs=tolerance)
    assert found.clear
    assert found.mean == pytest.approx((second - first).mean())


def test_bca_leans_to_the_long_tail() -> None:
    values = np.random.default_rng(0).exponential(size=25) ** 2
    zeros, skewed = named(np.zeros(25)), named(values)
    plain, corrected = (
        paired_difference(zeros, skewed, method=method) for method in ("percentile", "bca")
    )
    assert corrected.low > plain.low
    assert corrected.high > plain.high
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert corrected.low == pytest.approx(expected.low, rel=0.03)
    assert corrected.high == pytest.approx(expected.high, rel=0.03)


def test_groups_are_drawn_together() -> None:
    # Ten slices of each of five patients, all slices of a patient alike.
    patients = np.repeat([0.1, -0.2, 0.3, 0.05, 0.2], 10)
    groups = {name: index // 10 for index, name in enumerate(named(patients))}
    alone = paired_difference(named(patients * 0), named(patients))
    together = paired_difference(named(patients * 0), named(patients), groups=groups)
    assert together.num_groups == 5
    assert together.mean == alone.mean
    assert together.high - together.low > 2 * (alone.high - alone.low)
    five = paired_difference(named(np.zeros(5)), named(patients[::10]))
    assert (together.low, together.high) == pytest.approx((five.low, five.high))


def test_a_large_group_weighs_by_its_cases() -> None:
    groups = {"case_000": "a", "case_001": "a", "case_002": "a", "case_003": "b"}
    found = paired_difference(named([0] * 4), named([1, 1, 1, 0]), groups=groups, level=0.99)
    assert found.mean == 0.75
    assert (found.low, found.high) == (0, 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8), st.sampled_from(["percentile", "bca"]))
def test_bounds_and_seed(gaps, method) -> None:
    arguments = {"samples": 200, "method": method}
    zeros, values = named([0] * len(gaps)), named(gaps)
    found = paired_difference(zeros, values, **arguments)
    assert min(gaps) - 1e-9 <= found.low <= found.high <= max(gaps) + 1e-9
    assert found == paired_difference(zeros, values, **arguments)
    back = paired_difference(values, zeros, **arguments)
    assert back.mean == pytest.approx(-found.mean)
    assert (back.better, back.worse) == (found.worse, found.better)


def test_cases_without_a_score() -> None:
    found = paired_difference(named([0.5, math.nan, 0.1]), named([0.6, 0.6, math.nan]))
    assert found.left_out == 2
    assert found.mean == pytest.approx(0.1)
    nothing = paired_difference({}, {})
    assert math.isnan(nothing.mean)
    assert math.isnan(nothing.low)
    assert not nothing.clear


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="not scored on the same cases") as error:
        paired_difference({"a": 1.0, "b": 1.0}, {"a": 1.0})
    assert "such as 'b'" in str(error.value)
    with pytest.raises(ConfigError, match="a case has no group") as error:
        paired_difference({"a": 1.0}, {"a": 1.0}, groups={"b": 1})
    assert "such as 'a'" in str(error.value)
    with pytest.raises(ConfigError, match="level 1, samples 10000"):
        paired_difference({"a": 1.0}, {"a": 1.0}, level=1)


def test_many_cases_are_fast() -> None:
    values = np.random.default_rng(0).random(3000)
    found = paired_difference(named(values * 0), named(values), samples=2000)
    spread = 1.96 * values.std() / math.sqrt(3000)
    assert found.high - found.low == pytest.approx(2 * spread, rel=0.15)
