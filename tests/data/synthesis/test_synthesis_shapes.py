"""Outlines and the pixels they cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.data.synthesis.shapes import (
    FAMILIES,
    Shape,
    blob,
    branches,
    radial_outlines,
    region_of,
)

CIRCLE = np.linspace(0, 2 * np.pi, 64, endpoint=False)


def circle(x: float, y: float, radius: float) -> np.ndarray:
    points = np.stack([np.cos(CIRCLE), np.sin(CIRCLE)], -1) * radius + [x, y]
    return points.astype(np.float32)


def full(shape: Shape, size: int) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    region = region_of(shape, size)
    if region is not None:
        mask[region.box] = region.mask
    return mask


def test_a_disc_lies_where_its_coordinates_say() -> None:
    mask = full(Shape(contours=[circle(20, 30, 9)]), 64)
    rows, columns = np.nonzero(mask)
    assert columns.mean() == pytest.approx(20, abs=0.1)
    assert rows.mean() == pytest.approx(30, abs=0.1)
    # OpenCV counts the pixels that the outline passes through as inside: half a pixel all around.
    assert mask.sum() == pytest.approx(np.pi * 9.5**2, rel=0.05)


def test_a_contour_within_a_contour_is_a_hole() -> None:
    mask = full(Shape(contours=[circle(32, 32, 20), circle(32, 32, 10)]), 64)
    assert not mask[32, 32]
    assert mask[32, 32 + 15]
    assert not mask[32, 32 + 23]


@pytest.mark.parametrize(("width", "pixels"), [(0.3, 1), (1, 1), (2.5, 3), (4.2, 5), (7, 7)])
def test_a_stroke_is_as_wide_as_asked(width: float, pixels: int) -> None:
    line = np.array([[10, 32], [50, 32]], np.float32)
    mask = full(Shape(strokes=[line], widths=[width]), 64)
    assert mask[:, 30].sum() == pixels
    assert mask[32].sum() == pytest.approx(40 + pixels, abs=2)


def test_outside_of_the_image_there_is_nothing() -> None:
    assert region_of(Shape(contours=[circle(-50, 10, 9)]), 64) is None
    cut = full(Shape(contours=[circle(0, 0, 9)]), 64)
    assert cut[0, 0]
    # A quarter, and half of the row and the column through the centre.
    assert cut.sum() == pytest.approx(np.pi * 9.5**2 / 4 + 9.5, rel=0.06)


def test_margin_is_left_where_there_is_room() -> None:
    plain = region_of(Shape(contours=[circle(32, 5, 4)]), 64)
    wide = region_of(Shape(contours=[circle(32, 5, 4)]), 64, margin=6)
    assert wide.mask.sum() == plain.mask.sum()
    assert wide.box[0].start == 0
    assert wide.box[1].start == plain.box[1].start - 6


def test_without_roughness_outlines_are_ellipses() -> None:
    rng = np.random.default_rng(0)
    outline = blob(rng, (5, 7), 10, elongation=4, angle=np.pi / 2, roughness=0)
    x, y = (outline - [5, 7]).T
    np.testing.assert_allclose((x / 5) ** 2 + (y / 20) ** 2, 1, rtol=1e-4)


def test_many_outlines_at_once() -> None:
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 100, (9, 2)).astype(np.float32)
    radii = rng.uniform(3, 9, 9).astype(np.float32)
    outlines = radial_outlines(rng, centres, radii, roughness=0.05, points=24)
    assert outlines.shape == (9, 24, 2)
    reach = np.linalg.norm(outlines - centres[:, None], axis=-1)
    assert (np.abs(reach / radii[:, None] - 1) < 0.5).all()


def test_branches_hang_together_and_thin_out() -> None:
    tree = branches(np.random.default_rng(1), (32, 60), -1.5, length=20, width=4, depth=2)
    assert len(tree.strokes) == 1 + 2 + 4
    ends = [tuple(stroke[-1]) for stroke in tree.strokes]
    assert all(tuple(stroke[0]) in ends for stroke in tree.strokes[1:])
    assert max(tree.widths[1:]) < tree.widths[0]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), family=st.sampled_from(sorted(FAMILIES)))
def test_every_family_covers_pixels_near_its_centre(seed: int, family: str) -> None:
    rng = np.random.default_rng(seed)
    mask = full(FAMILIES[family](rng, np.array([128, 128], np.float32), 20.0), 256)
    rows, columns = np.nonzero(mask)
    assert rows.size >= 12
    assert np.abs(rows - 128).max() < 100
    assert np.abs(columns - 128).max() < 100
