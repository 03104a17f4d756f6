"""Numbers of any kind to 0..255."""

from pathlib import Path

import numpy as np
import pytest

from samft.data.intensity import CT_WINDOWS, percentile_range, to_rgb, to_uint8, window_range
from samft.errors import DatasetError


def test_window_in_hounsfield_units() -> None:
    lowest, highest = window_range(*CT_WINDOWS["ct_soft"])
    assert (lowest, highest) == (-160, 240)
    values = np.array([-3024, -160, 40, 240, 3000], np.int16)
    assert to_uint8(values, lowest, highest).tolist() == [0, 0, 128, 255, 255]


def test_float_with_negative_and_missing_values() -> None:
    values = np.array([-5.0, 0.0, 11.0, np.nan, np.inf, -np.inf], np.float32)
    assert to_uint8(values, -5, 11).tolist() == [0, 80, 255, 0, 255, 0]
    assert to_uint8(np.full(3, 7.0), 7, 7).tolist() == [0, 0, 0]


def test_wide_integers_do_not_overflow() -> None:
    values = np.array([0, 2**31, 2**32 - 1], np.uint32)
    assert to_uint8(values, 0, 2**32 - 1).tolist() == [0, 128, 255]
    assert to_uint8(np.array([-32768, 32767], np.int16), -32768, 32767).tolist() == [0, 255]


def test_percentiles_leave_out_the_background() -> None:
    values = np.concatenate([np.full(10_000, -2000.0), np.linspace(0, 100, 1001)])
    assert percentile_range(values, 0, 50) == pytest.approx((0, 50))


def test_one_value_beside_the_background_is_seen() -> None:
    values = np.array([0.0, 0.0, 0.0, 200.0, 200.0])
    assert percentile_range(values, 0.5, 99.5) == (0, 200)


def test_percentiles_of_constants_and_nothing_finite() -> None:
    assert percentile_range(np.zeros((4, 4)), 1, 99) == (0, 0)
    assert percentile_range(np.full(4, np.nan), 1, 99) == (0, 0)


def test_percentiles_of_large_arrays_are_nearly_exact() -> None:
    values = np.random.default_rng(0).normal(size=(3, 1000, 1000)).astype(np.float32)
    exact = np.percentile(values, (0.5, 99.5))
    assert percentile_range(values, 0.5, 99.5) == pytest.approx(exact, abs=0.03)


def test_channels() -> None:
    channels = np.arange(3, dtype=np.uint8)[:, None, None] * 10
    path = Path("a.tif")
    assert to_rgb(channels[1:2], path).ravel().tolist() == [10, 10, 10]
    assert to_rgb(channels[1:], path).ravel().tolist() == [10, 20, 15]
    assert to_rgb(channels, path).ravel().tolist() == [0, 10, 20]
    with pytest.raises(DatasetError, match="too many channels") as caught:
        to_rgb(np.zeros((5, 2, 2), np.uint8), path)
    assert "a.tif, found: 5 channels" in str(caught.value)
