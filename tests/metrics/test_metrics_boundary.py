"""Boundary IoU and F against erosion and dilation by OpenCV, and by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samft.metrics.boundary import BoundaryScores, boundary_band, boundary_f, contour


def square(size: int, first: int, last: int) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[first:last, first:last] = True
    return mask


def test_band_by_hand() -> None:
    band = boundary_band(square(9, 1, 8), 2)
    assert band.sum() == 7 * 7 - 3 * 3
    assert not band[3:6, 3:6].any()
    # The border of the image is a boundary too.
    assert boundary_band(np.ones((6, 6), bool), 1).sum() == 36 - 16


def test_iou_by_hand() -> None:
    # A diagonal of 100: the band is 2 wide.
    size = (60, 80)
    target, predicted = np.zeros((2, *size), bool)
    target[10:30, 10:30] = True
    predicted[10:30, 12:32] = True
    metric = BoundaryScores()
    metric.update(predicted[None], target[None], case_id="a")
    # Bands of 20^2 - 16^2 = 144; shared: two rows above and below over 18 columns, and the pair of
    # columns 28 and 29 of the truth, 26 and 27 not; of the prediction 12 and 13 not.
    shared = np.count_nonzero(boundary_band(target, 2) & boundary_band(predicted, 2))
    assert shared == 4 * 18
    assert metric.compute()["boundary_iou"] == pytest.approx(72 / (288 - 72))


def test_contour_by_hand() -> None:
    # A pixel differs from its neighbours left and above, and they from it.
    assert np.argwhere(contour(square(4, 2, 3))).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert not contour(np.ones((3, 3), bool)).any()


def test_f_by_hand() -> None:
    left, right = np.zeros((2, 4, 12), bool)
    left[:, :4] = True
    right[:, :6] = True
    # Contours are columns 3 and 5.
    assert boundary_f(left, right, tolerance_px=1) == 0
    assert boundary_f(left, right, tolerance_px=2) == 1
    assert boundary_f(left, np.zeros_like(left), tolerance_px=9) == 0
    assert boundary_f(np.ones_like(left), np.zeros_like(left), tolerance_px=1) == 1


MASKS = arrays(bool, (2, 11, 14), elements=st.booleans())


@settings(max_examples=25, deadline=None)
@given(MASKS, st.integers(1, 3))
def test_band_is_what_erosion_takes_away(masks, width) -> None:
    for mask in masks:
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
        assert np.array_equal(boundary_band(mask, width), mask & (eroded == 0))


@settings(max_examples=25, deadline=None)
@given(MASKS, st.integers(1, 3))
def test_f_is_that_of_dilated_contours(masks, radius) -> None:
    given_, wanted = (contour(mask) for mask in masks)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (x**2 + y**2 <= radius**2).astype(np.uint8)
    wide = [cv2.dilate(each.astype(np.uint8), disc) > 0 for each in (given_, wanted)]
    if given_.any() and wanted.any():
        precision, recall = (given_ & wide[1]).sum() / given_.sum(), (wanted & wide[0]).sum()
        recall /= wanted.sum()
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert boundary_f(*masks, tolerance_px=radius) == pytest.approx(expected)


def test_ratios_and_empty_cases() -> None:
    metric = BoundaryScores(iou_ratio=0.001, f_ratio=0.0001)
    mask = torch.from_numpy(square(20, 5, 15))[None]
    metric.update(mask, mask.roll(1, dims=2), case_id="a")
    scores = metric.per_case()[0].scores
    assert scores["boundary_f"] == 1  # a tolerance is at least one pixel
    bands = boundary_band(square(20, 5, 15), 1), np.roll(boundary_band(square(20, 5, 15), 1), 1, 1)
    assert scores["boundary_iou"] == pytest.approx(
        (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    )
    metric.update(mask & False, mask & False, case_id="b")
    metric.update(mask & False, mask, case_id="c")
    metric.update(None, mask, case_id="d")
    values = {each.case_id: each.scores["boundary_iou"] for each in metric.per_case()}
    assert (values["b"], values["c"], values["d"]) == (1, 0, 0)
    assert not math.isnan(metric.compute()["boundary_f"])
