"""Automatic masks of volumes: every ball is one object, whatever the axis, stops and gaps."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from threshold_models import GuardedArray, ThresholdGenerator, same_partition

from samft import VolumeMasks, VolumeSource, open_array
from samft.errors import OutputError

BALLS = [(12, 14, 14, 8), (10, 40, 30, 7), (22, 34, 12, 9), (26, 14, 36, 6), (21, 58, 40, 5)]


@pytest.fixture(scope="module")
def balls():
    """(volume, labels): bright balls that do not touch."""
    z, y, x = np.mgrid[:34, :64, :48]
    labels = np.zeros(z.shape, np.int32)
    for number, (cz, cy, cx, radius) in enumerate(BALLS, start=1):
        labels[(z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < radius**2] = number
    return np.where(labels > 0, 200, 20).astype(np.uint8), labels


@pytest.mark.parametrize("kind", [".zarr", ".tif", ".npy"])
@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_every_ball_is_one_object(balls, tmp_path, axis, kind) -> None:
    volume, labels = balls
    guarded = GuardedArray(volume, 64 * 48)
    source = VolumeSource(guarded, axis=axis)
    result = VolumeMasks(ThresholdGenerator()).label(source, tmp_path / f"labels{kind}")
    found = np.asarray(open_array(result.path)[:])
    assert result.count == len(BALLS)
    assert result.shape == volume.shape
    assert len(result.scores) == len(BALLS)
    assert ((result.scores > 0.5) & (result.scores < 1)).all()
    assert same_partition(found, labels)
    assert np.array_equal(np.unique(found), np.arange(len(BALLS) + 1))


def test_tiff_is_a_stack_for_others(balls, tmp_path) -> None:
    volume, labels = balls
    path = VolumeMasks(ThresholdGenerator()).label(volume, tmp_path / "labels.tif").path
    with tifffile.TiffFile(path) as file:
        assert file.series[0].axes == "ZYX"
        assert same_partition(file.asarray(), labels)


class Blind(ThresholdGenerator):
    """Sees nothing in some slices."""

    def __init__(self, *missed: int) -> None:
        super().__init__()
        self.missed = missed

    def records(self, image, *, candidates=None):
        found = super().records(image, candidates=candidates)
        return [] if self.images - 1 in self.missed else found


def test_missed_slices_are_filled_in(balls, tmp_path) -> None:
    volume, labels = balls
    result = VolumeMasks(Blind(11, 12, 20), max_gap=2).label(volume, tmp_path / "labels.npy")
    found = np.load(result.path)
    assert result.count == len(BALLS)
    for number in range(1, len(BALLS) + 1):
        mask = found == np.bincount(found[labels == number]).argmax()
        truth = labels == number
        assert (mask & truth).sum() / (mask | truth).sum() > 0.93
    shorter = VolumeMasks(Blind(11, 12, 20), max_gap=1).label(volume, tmp_path / "short.npy")
    assert shorter.count > len(BALLS)
    assert not np.load(shorter.path)[11:13].any()


def test_what_is_too_small_is_dropped(balls, tmp_path) -> None:
    volume, labels = balls
    sizes = np.bincount(labels.ravel())
    masks = VolumeMasks(ThresholdGenerator(), min_voxels=int(sizes[5]) + 1)
    result = masks.label(volume, tmp_path / "labels.npy")
    assert result.count == len(BALLS) - 1
    assert same_partition(np.load(result.path), np.where(labels == 5, 0, labels))


def test_an_interrupted_run_goes_on_to_the_same_result(balls, tmp_path) -> None:
    volume, _ = balls
    whole = np.load(VolumeMasks(Blind(12)).label(volume, tmp_path / "whole.npy").path)
    out = tmp_path / "labels.npy"
    with pytest.raises(KeyboardInterrupt):
        VolumeMasks(ThresholdGenerator(stop_after=12)).label(volume, out)
    assert not out.exists()
    with pytest.raises(OutputError, match="made with other settings, weights or pixels"):
        VolumeMasks(Blind(0), max_gap=3).label(volume, out)
    steps = []
    rest = Blind(0)
    VolumeMasks(rest).label(volume, out, progress=lambda *step: steps.append(step))
    assert rest.images == 34 - 12
    assert steps == [(step, 68) for step in range(1, 69)]
    assert np.array_equal(np.load(out), whole)
