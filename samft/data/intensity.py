"""From the numbers of a file to the 0..255 RGB that SAM was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from samft.errors import ConfigError, DatasetError

Window = (
    Literal[
        "auto",
        "zscore",
        "ct_soft",
        "ct_lung",
        "ct_bone",
        "ct_abdomen",
        "ct_liver",
        "ct_mediastinum",
        "ct_angio",
        "ct_brain",
        "ct_subdural",
        "ct_stroke",
        "ct_temporal_bone",
        "ct_spine",
    ]
    | list[float]
)
"""A CT preset, [level, width], auto: percentiles of the values, or zscore: see `zscore_range`."""
CT_WINDOWS: Final = {
    "ct_soft": (40.0, 400.0),
    "ct_lung": (-600.0, 1500.0),
    "ct_bone": (300.0, 1500.0),
    "ct_abdomen": (50.0, 400.0),
    "ct_liver": (30.0, 150.0),
    "ct_mediastinum": (50.0, 350.0),
    "ct_angio": (300.0, 600.0),
    "ct_brain": (40.0, 80.0),
    "ct_subdural": (75.0, 215.0),
    "ct_stroke": (40.0, 40.0),
    "ct_temporal_bone": (600.0, 2800.0),
    "ct_spine": (50.0, 250.0),
}
"""Level and width in Hounsfield units, the usual radiological presets.

Source: Radiopaedia, "Windowing (CT)", where it states a range its middle; ct_soft, ct_bone and
    ct_angio are the chest, bone and angiography presets of the Orthanc viewer.
"""
Limits = tuple[float, float] | Literal["zscore"] | None
"""What becomes black and white: two values, or found in each file: mean and deviation, or two
percentiles (`None`)."""
VOLUME_PERCENTILES = (0.5, 99.5)
"""Black and white of volumes without a window."""
_MAX_SAMPLED = 1_000_000
_FILLED_SHARE = 0.1
_FEW = 10  # levels; so few are no noise, and each may be of a tenth


def window_limits(window: Window, *, where: str = "data.window") -> Limits:
    """Return the lowest and highest value shown, or how they are found in each file.

    Args:
        window: The window.
        where: The setting, for the message.

    Raises:
        ConfigError: if it is neither a preset nor a level and a positive width.
    """
    if window == "auto":
        return None
    if window == "zscore":
        return "zscore"
    if isinstance(window, str) and window in CT_WINDOWS:
        return window_range(*CT_WINDOWS[window])
    if isinstance(window, str) or len(window) != 2 or not window[1] > 0:
        raise ConfigError(
            "the window does not make sense",
            where=where,
            found=window,
            expected=f"auto, zscore, {', '.join(CT_WINDOWS)}, or [level, width] with a positive "
            "width, such as [40, 400]",
        )
    return window_range(*window)


def window_range(level: float, width: float) -> tuple[float, float]:
    """Return the lowest and highest value that a window shows."""
    return level - width / 2, level + width / 2


def value_range(
    values: NDArray[Any], limits: Limits, percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Return the values that become black and white.

    Args:
        values: Numbers of any shape: the whole file, not a slice of it.
        limits: As `window_limits` gives them.
        percentiles: The two percentiles where `limits` is `None`.
    """
    if limits is None:
        return percentile_range(values, *percentiles)
    return zscore_range(values) if limits == "zscore" else limits


def zscore_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return three standard deviations below and above the mean of the foreground.

    The scale of MR values is arbitrary, and differs between scanners and even between two scans of
    one patient. So mapped, a grey level means as many deviations in all of them. The foreground is
    everything but the value of a tenth of all voxels or more, which a mask or padding has left
    there; where there is none, everything above the mean, as the air around a head is noise rather
    than one value.

    Args:
        values: Numbers of any shape. Of large arrays every n-th value is used.

    Source: Isensee et al. 2021, "nnU-Net", Nature Methods 18, z-scores each MR image; above the
        mean is how Nyul and Udupa 1999, "On Standardizing the MR Image Intensity Scale", find the
        foreground.
    """
    finite = _sampled(values)
    if finite.size == 0:
        return 0.0, 0.0
    levels, counts = np.unique(finite, return_counts=True)
    filled = levels[counts >= _FILLED_SHARE * finite.size] if levels.size > _FEW else levels[:1]
    empty = np.isin(finite, filled) if filled.size else finite <= finite.mean(dtype=np.float64)
    inside = finite[~empty]
    if inside.size == 0:
        return 0.0, 0.0
    mean, deviation = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    if deviation == 0:  # one value beside the background
        return float(finite.min()), mean
    return mean - 3 * deviation, mean + 3 * deviation


def percentile_range(values: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Return two percentiles of the finite values above the smallest one.

    The smallest value is the background of a skull-stripped brain, the padding outside a scanner's
    circle, the black of an empty field: it says nothing about contrast, unless there is but one
    value beside it. Of large arrays every n-th value is used.

    Args:
        values: Numbers of any shape.
        low: Lower percentile, 0 to 100.
        high: Upper percentile.
    """
    finite = _sampled(values)
    inside = finite[finite > finite.min()] if finite.size else finite
    if inside.size == 0:
        return 0.0, 0.0
    lower, upper = np.percentile(inside, (low, high))
    return float(lower if lower < upper else finite.min()), float(upper)


def _sampled(values: NDArray[Any]) -> NDArray[Any]:
    """Return the finite values, of large arrays every n-th."""
    flat = values.reshape(-1)
    flat = flat[:: max(1, flat.size // _MAX_SAMPLED)]
    finite: NDArray[Any] = flat[np.isfinite(flat)]
    return finite


def to_uint8(values: NDArray[Any], lowest: float, highest: float) -> NDArray[np.uint8]:
    """Map [lowest, highest] to 0..255 like `to_float`, rounded to whole numbers."""
    scaled = to_float(values, lowest, highest)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def to_float(values: NDArray[Any], lowest: float, highest: float) -> NDArray[np.float32]:
    """Map [lowest, highest] to 0..255, clipping outside; not-a-number becomes 0.

    An empty range, from a constant image, gives all zeros.
    """
    if highest <= lowest:
        return np.zeros(values.shape, np.float32)
    scaled = values.astype(np.float32)
    scaled -= np.float32(lowest)
    scaled *= np.float32(255 / (highest - lowest))
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    return np.clip(scaled, 0, 255, out=scaled)


def to_rgb(channels: NDArray[Any], path: Path, *, more: bool = False) -> NDArray[Any]:
    """Make (3, H, W) from one, two or three channels.

    One is repeated; of two, the third becomes their mean.

    Args:
        channels: (C, H, W) uint8 or float32, 0 to 255.
        path: The file, for the message.
        more: Whether more than three are wanted, and stay as they are.

    Raises:
        DatasetError: if there are more than three channels that nobody asked for.
    """
    if more and channels.shape[0] > 3:
        return channels
    if channels.shape[0] == 1:
        return np.repeat(channels, 3, axis=0)
    if channels.shape[0] == 2:
        mean = channels.mean(axis=0, keepdims=True).astype(channels.dtype)
        return np.concatenate([channels, mean])
    if channels.shape[0] == 3:
        return channels
    raise DatasetError(
        "the image has too many channels",
        where=path,
        found=f"{channels.shape[0]} channels",
        expected="1, 2 or 3",
        fix="choose some with data.channels, such as [0, 1, 2]; with four or more also set "
        "model.channels.count",
    )
