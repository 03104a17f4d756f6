"""Thinning keeps the topology; clDice by hand and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from samft.metrics.skeletons import CentrelineDice, skeleton
from samft.metrics.thinning import thin, thin_volume


def ellipsoid(centre, radii) -> np.ndarray:
    grid = np.indices((24, 24, 24))
    return sum(((grid[i] - centre[i]) / radii[i]) ** 2 for i in range(3)) <= 1


CROSSES = (
    ellipsoid((12, 12, 12), (3, 3, 11)) | ellipsoid((12, 12, 12), (3, 11, 3)),
    ellipsoid((13, 12, 12), (3, 3, 9)) | ellipsoid((12, 13, 12), (3, 11, 3)),
)


def wave(shift: float, width: float) -> np.ndarray:
    y, x = np.indices((60, 70))
    return np.abs(y - 30 - 12 * np.sin((x + shift) / 9)) < width


def pieces_and_holes(mask: np.ndarray) -> tuple[int, int]:
    corners = np.ones((3,) * mask.ndim)
    return ndimage.label(mask, corners)[1], ndimage.label(~np.pad(mask, 1))[1]


def euler_number(mask: np.ndarray) -> int:
    """Return pieces - tunnels + cavities of a volume: its corners, edges, faces and cubes."""
    padded = np.pad(mask, 1)
    total = 0
    # A cell of the closed cubes is there if any of the voxels around it is.
    for axes in ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        cells = padded
        for axis in axes:
            cells = _either(cells, axis)
        total += (-1) ** (3 - len(axes)) * int(cells.sum())
    return total


def _either(cells: np.ndarray, axis: int) -> np.ndarray:
    first = np.take(cells, range(cells.shape[axis] - 1), axis)
    return first | np.take(cells, range(1, cells.shape[axis]), axis)


def test_lines_by_hand() -> None:
    bar = np.zeros((7, 12), bool)
    bar[2:5, 1:11] = True
    line = thin(bar)
    assert np.unique(np.argwhere(line)[:, 0]).tolist() == [3]
    assert line.sum() == 8
    assert thin(line).sum() == line.sum()
    assert not thin(np.zeros((3, 4), bool)).any()
    assert thin(np.ones((2, 2), bool)).sum() == 1


@settings(max_examples=25, deadline=None)
@given(arrays(bool, (9, 10), elements=st.booleans()))
def test_pictures_keep_pieces_and_holes(mask) -> None:
    line = thin(mask)
    assert not (line & ~mask).any()
    assert pieces_and_holes(line) == pieces_and_holes(mask)
    assert np.array_equal(thin(line), line)


@settings(max_examples=25, deadline=None)
@given(arrays(bool, (5, 5, 6), elements=st.booleans()), st.integers(0, 2))
def test_volumes_keep_pieces_cavities_and_tunnels(mask, radius) -> None:
    mask = ndimage.binary_dilation(mask, iterations=radius) if radius else mask
    line = thin_volume(mask)
    assert not (line & ~mask).any()
    assert pieces_and_holes(line) == pieces_and_holes(mask)
    assert euler_number(line) == euler_number(mask)


def test_euler_number_of_known_shapes() -> None:
    block = np.ones((3, 3, 3), bool)
    assert euler_number(block) == 1
    ring, shell = block.copy(), block.copy()
    ring[:, 1, 1] = False
    shell[1, 1, 1] = False
    assert euler_number(ring) == 0
    assert euler_number(shell) == 2


def test_a_solid_bar_becomes_a_line() -> None:
    bar = np.zeros((9, 9, 30), bool)
    bar[2:7, 2:7, 2:28] = True
    line = thin_volume(bar)
    assert (line.sum(axis=(0, 1)) <= 1).all()
    assert line.sum() >= 18
    assert line[4, 4].sum() == line.sum()


def cldice(first: np.ndarray, second: np.ndarray, skeletonise) -> float:
    lines = skeletonise(first) > 0, skeletonise(second) > 0
    precision = (lines[0] & second).sum() / lines[0].sum()
    recall = (lines[1] & first).sum() / lines[1].sum()
    return 2 * precision * recall / (precision + recall)


def test_values_of_scikit_image() -> None:
    # scikit-image 0.26.0: thin gives 79 pixels each and clDice 0.92930; skeletonize 0.92568 on the
    # picture, and in the volume lines of 33 and 27 voxels and clDice 1.
    pictures = wave(0, 2.6), wave(1.5, 2.2)
    assert [int(thin(each).sum()) for each in pictures] == [79, 79]
    assert [int(skeleton(each).sum()) for each in CROSSES] == [33, 27]
    metric = CentrelineDice()
    metric.update(*(torch.from_numpy(each)[None] for each in pictures), case_id="a")
    assert metric.compute()["cldice"] == pytest.approx(0.9293033669163867)
    assert metric.compute()["cldice"] == pytest.approx(0.9256806475349522, abs=0.005)
    metric.reset()
    metric.update(*(each[None] for each in CROSSES), case_id="a")
    assert metric.compute()["cldice"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_scikit_image_on_random_masks(seed) -> None:
    morphology = pytest.importorskip("skimage.morphology")
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((60, 70)), 2)
    mask = noise > np.median(noise)
    assert np.array_equal(thin(mask), morphology.thin(mask))
    assert cldice(*CROSSES, skeleton) == pytest.approx(
        cldice(*CROSSES, morphology.skeletonize), abs=0.02
    )


def test_by_hand_and_empty_cases() -> None:
    metric = CentrelineDice()
    line = torch.zeros(1, 3, 10).bool()
    line[0, 1] = True
    half = line.clone()
    half[0, 1, 5:] = False
    metric.update(half, line, case_id="half")
    metric.update(line.roll(1, dims=1), line, case_id="beside")
    metric.update(line & False, line & False, case_id="nothing")
    metric.update(line & False, line, case_id="missed")
    metric.update(None, line, case_id="failed")
    scores = {each.case_id: each.scores for each in metric.per_case()}
    assert scores["half"]["topology_precision"] == 1
    assert scores["half"]["topology_sensitivity"] == 0.5
    assert scores["half"]["cldice"] == pytest.approx(2 / 3)
    values = [scores[name]["cldice"] for name in ("beside", "nothing", "missed", "failed")]
    assert values == [0, 1, 0, 0]
