"""Segmentations without training: every value here was worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.metrics.baselines import (
    BOX_BASELINES,
    disc_at_point,
    ellipse_in_box,
    filled_box,
    median_radius,
    otsu_and_ellipse,
    otsu_in_box,
    otsu_threshold,
)
from samft.metrics.objects import mask_scores
from samft.prompts.sampling import tight_boxes


def grey(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.uint8).expand(3, -1, -1)


def box(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def drawn(mask: torch.Tensor) -> list[str]:
    return ["".join("#" if value else "." for value in row) for row in mask.tolist()]


BLANK = torch.zeros(3, 5, 7, dtype=torch.uint8)


@settings(max_examples=30, deadline=None)
@given(x=st.integers(0, 6), y=st.integers(0, 4), width=st.integers(1, 7), height=st.integers(1, 5))
def test_tight_box_of_a_rectangle_gives_the_rectangle(x, y, width, height):
    truth = torch.zeros(1, 5, 7, dtype=torch.bool)
    truth[0, y : y + height, x : x + width] = True
    boxes, _ = tight_boxes(truth)
    iou, _ = mask_scores(filled_box(BLANK, boxes[0])[None], truth)
    assert iou.item() == 1


def test_filled_box_takes_the_pixels_whose_centres_lie_in_it():
    assert drawn(filled_box(BLANK, box(0.5, 1.0, 2.9, 2.0))) == [
        ".......",
        ".##....",
        ".##....",
        ".......",
        ".......",
    ]
    assert filled_box(BLANK, box(-3, -3, 99, 99)).all()
    assert not filled_box(BLANK, box(1.2, 1.2, 1.8, 1.8)).any()


def test_ellipse_touches_the_sides():
    # Half axes 2.5 and 1.5: (1 / 2.5)^2 + (1 / 1.5)^2 = 0.60, (2 / 2.5)^2 + (1 / 1.5)^2 = 1.08.
    assert drawn(ellipse_in_box(BLANK, box(1, 1, 5, 3))) == [
        ".......",
        "..###..",
        ".#####.",
        "..###..",
        ".......",
    ]
    assert int(ellipse_in_box(BLANK, box(3, 2, 3, 2)).sum()) == 1


def test_ellipse_covers_its_share_of_a_large_box():
    image = torch.zeros(3, 300, 400, dtype=torch.uint8)
    share = int(ellipse_in_box(image, box(10, 20, 359, 279)).sum()) / (350 * 260)
    assert share == pytest.approx(math.pi / 4, abs=2e-3)


def test_otsu_threshold_by_hand():
    # Splits of 0 0 1 3: after 0: 2 * 2 * 2^2 = 16; after 1: 3 * 1 * (3 - 1/3)^2 = 21.3.
    assert otsu_threshold(np.array([0, 0, 1, 3], np.uint8)) == 1
    # Splits of 0 1 1 3: after 0: 1 * 3 * (5/3)^2 = 8.3; after 1: 3 * 1 * (3 - 2/3)^2 = 16.3.
    assert otsu_threshold(np.array([[0, 1], [1, 3]], np.uint8)) == 1
    assert otsu_threshold(np.array([10, 10, 200], np.uint8)) == 10
    assert otsu_threshold(np.array([254, 255], np.uint8)) == 254
    assert otsu_threshold(np.full((3, 3), 7, np.uint8)) is None


def test_otsu_object_is_the_side_rarer_on_the_border():
    bright_object = grey([[9, 9, 9, 9], [9, 90, 80, 9], [9, 90, 9, 9], [9, 9, 9, 9]])
    expected = ["....", ".##.", ".#..", "...."]
    everything = box(0, 0, 3, 3)
    assert drawn(otsu_in_box(bright_object, everything)) == expected
    assert drawn(otsu_in_box(255 - bright_object, everything)) == expected
    # A tight box: 3 of 4 border pixels are bright, so the one dark pixel is taken for the object.
    assert drawn(otsu_in_box(bright_object, box(1, 1, 2, 2))) == ["....", "....", "..#.", "...."]


def test_otsu_tie_goes_to_the_bright_side_and_one_value_to_the_box():
    assert drawn(otsu_in_box(grey([[5, 5], [200, 200]]), box(0, 0, 1, 1))) == ["..", "##"]
    assert drawn(otsu_in_box(grey([[5, 5, 0], [5, 5, 0]]), box(0, 0, 1, 1))) == ["##.", "##."]


def test_otsu_looks_at_luminance():
    image = torch.zeros(3, 3, 3, dtype=torch.uint8)
    image[2] = 200  # blue ground: 23
    image[:, 1, 1] = torch.tensor([0, 200, 0])  # green spot: 117
    assert drawn(otsu_in_box(image, box(0, 0, 2, 2))) == ["...", ".#.", "..."]
    assert torch.equal(
        otsu_in_box(image.float(), box(0, 0, 2, 2)), otsu_in_box(image, box(0, 0, 2, 2))
    )


def test_otsu_and_ellipse_is_both():
    image = grey([[9] * 5, [9] * 5, [9, 90, 90, 90, 9], [9] * 5, [90, 9, 9, 9, 9]])
    both = otsu_and_ellipse(image, box(0, 0, 4, 4))
    assert drawn(otsu_in_box(image, box(0, 0, 4, 4)))[4] == "#...."
    assert drawn(both) == [".....", ".....", ".###.", ".....", "....."]


def test_disc():
    assert drawn(disc_at_point(BLANK, torch.tensor([2.0, 1.0]), 1.0)) == [
        "..#....",
        ".###...",
        "..#....",
        ".......",
        ".......",
    ]


def test_median_radius():
    areas = torch.tensor([1.0, 4.0, 100.0]) * math.pi
    assert median_radius(areas) == pytest.approx(2.0)
    assert median_radius(torch.tensor([10, 20])) == pytest.approx(math.sqrt(15 / math.pi))


@pytest.mark.parametrize("name", BOX_BASELINES)
def test_every_baseline_stays_in_the_box_and_leaves_the_image_alone(name):
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    before = image.clone()
    prompt = box(4, 3, 17, 12)
    mask = BOX_BASELINES[name](image, prompt)
    assert mask.shape == (20, 30)
    assert mask.dtype == torch.bool
    assert mask.any()
    assert not (mask & ~filled_box(image, prompt)).any()
    assert torch.equal(image, before)
