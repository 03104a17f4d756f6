"""Numbers of any kind to 0..255."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from samft.data.intensity import (
    CT_WINDOWS,
    Window,
    percentile_range,
    to_rgb,
    to_uint8,
    value_range,
    window_limits,
    window_range,
    zscore_range,
)
from samft.errors import ConfigError, DatasetError


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


def test_presets_are_what_radiologists_look_at() -> None:
    names = set(get_args(get_args(Window)[0]))
    assert names == {"auto", "zscore", *CT_WINDOWS}
    for name, (level, width) in CT_WINDOWS.items():
        low, high = window_range(level, width)
        assert window_limits(name) == (low, high)
    inside = {  # Hounsfield units of what each is for
        "ct_lung": (-900, -500),
        "ct_bone": (200, 1000),
        "ct_liver": (40, 60),
        "ct_brain": (20, 45),
        "ct_angio": (150, 450),
        "ct_mediastinum": (-100, 150),
        "ct_abdomen": (-100, 200),
    }
    for name, (low, high) in inside.items():
        first, last = window_limits(name)
        assert first <= low < high <= last


@pytest.mark.parametrize("window", ["ct_brian", [40.0], [40.0, 0.0], [1.0, 2.0, 3.0]])
def test_windows_that_make_no_sense(window: object) -> None:
    with pytest.raises(ConfigError, match="the window does not make sense") as caught:
        window_limits(window)
    assert "expected: auto, zscore, ct_soft, ct_lung" in str(caught.value)


def head(noise: float = 0.0, mean: float = 400.0) -> np.ndarray:
    """A ball of tissue in air, 60 x 60 x 60, of which it fills a fifth."""
    rng = np.random.default_rng(0)
    z, y, x = np.indices((60, 60, 60)) - 29.5
    tissue = rng.normal(mean, 50, (60, 60, 60))
    return np.where(z**2 + y**2 + x**2 < 22**2, tissue, np.abs(rng.normal(0, noise, (60, 60, 60))))


@pytest.mark.parametrize("noise", [0.0, 12.0])
def test_zscore_is_of_the_tissue_whether_the_air_is_masked_or_noisy(noise: float) -> None:
    low, high = zscore_range(head(noise).astype(np.float32))
    assert (low + high) / 2 == pytest.approx(400, abs=3)
    assert (high - low) / 6 == pytest.approx(50, abs=3)
    assert value_range(head(noise), "zscore", (1, 99)) == pytest.approx((low, high), rel=1e-3)


def test_zscore_takes_any_scale_and_whole_numbers() -> None:
    low, high = zscore_range(head())
    assert zscore_range(head() * 7) == pytest.approx((7 * low, 7 * high))
    assert zscore_range(np.rint(head()).astype(np.int16)) == pytest.approx((low, high), abs=1)
    scored = (head() - 400) / 50  # padded with a value that is not the smallest
    scored[head() == 0] = 0
    assert zscore_range(scored) == pytest.approx((-3, 3), abs=0.05)
    wide = to_uint8(head(), low, high)
    assert wide[30, 30, 20:40].mean() == pytest.approx(127.5, abs=25)


def test_zscore_of_hardly_anything() -> None:
    assert zscore_range(np.zeros((4, 4))) == (0, 0)
    assert zscore_range(np.full(4, np.nan)) == (0, 0)
    assert zscore_range(np.zeros((0, 3))) == (0, 0)
    assert zscore_range(np.array([0.0, 0.0, 200.0])) == (0, 200)
    with_gaps = head()
    with_gaps[0, 0, :5] = np.nan
    with_gaps[0, 1, :5] = np.inf
    assert zscore_range(with_gaps) == pytest.approx(zscore_range(head()), rel=1e-3)


def test_limits_of_a_window_or_of_the_values() -> None:
    values = np.linspace(-1000, 1000, 2001)
    assert value_range(values, (-160.0, 240.0), (1, 99)) == (-160, 240)
    assert value_range(values, None, (1, 99)) == percentile_range(values, 1, 99)
