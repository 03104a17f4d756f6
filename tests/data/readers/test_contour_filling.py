"""Filled outlines against a point-by-point test of insideness."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samft.data.readers import contour_filling
from samft.data.readers.contour_filling import EvenOddFill

SIZE = 9, 11
# Off the grid, so that no centre lies on an edge and every definition of inside is the same.
COORDINATES = st.integers(-40, 160).map(lambda value: value / 10 + 0.0317)
OUTLINES = st.lists(
    st.integers(3, 9).flatmap(lambda n: arrays(np.float64, (n, 2), elements=COORDINATES)),
    min_size=1,
    max_size=3,
)


def filled(*outlines: object, size: tuple[int, int] = SIZE) -> np.ndarray:
    fill = EvenOddFill(size)
    for points in outlines:
        fill.add(np.asarray(points, float))
    return fill.mask()


def winding_parity(outline: np.ndarray, x: float, y: float) -> bool:
    """Whether a ray to the right meets an odd number of edges (W. R. Franklin's test)."""
    inside = False
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            inside = not inside
    return inside


@settings(max_examples=25, deadline=None)
@given(OUTLINES)
def test_even_odd(outlines: list[np.ndarray]) -> None:
    expected = np.zeros(SIZE, bool)
    for outline in outlines:
        expected ^= [[winding_parity(outline, x, y) for x in range(11)] for y in range(9)]
    assert np.array_equal(filled(*outlines), expected)


@settings(max_examples=25, deadline=None)
@given(OUTLINES, st.integers(1, 5))
def test_working_in_parts_changes_nothing(outlines: list[np.ndarray], most: int) -> None:
    whole = filled(*outlines)
    before = contour_filling._MOST_CROSSINGS
    contour_filling._MOST_CROSSINGS = most
    try:
        assert np.array_equal(filled(*outlines), whole)
    finally:
        contour_filling._MOST_CROSSINGS = before


def test_centres_and_edges() -> None:
    square = [(0.6, 0.6), (3.4, 0.6), (3.4, 2.4), (0.6, 2.4)]
    expected = np.zeros(SIZE, bool)
    expected[1:3, 1:4] = True
    assert np.array_equal(filled(square), expected)
    # Neighbours that share an edge through centres share no pixel and leave none out.
    left = filled([(0, 0), (4, 0), (4, 4), (0, 4)])
    right = filled([(4, 0), (8, 0), (8, 4), (4, 4)])
    assert not (left & right).any()
    assert (left | right).sum() == 8 * 4


def test_a_hole_and_a_keyhole_are_the_same() -> None:
    outer = [(0.5, 0.5), (8.5, 0.5), (8.5, 7.5), (0.5, 7.5)]
    inner = [(2.5, 2.5), (6.5, 2.5), (6.5, 5.5), (2.5, 5.5)]
    keyhole = [*outer, outer[0], inner[0], *inner[::-1], outer[0]]
    ring = filled(outer, inner)
    assert ring.sum() == 8 * 7 - 4 * 3
    assert np.array_equal(filled(keyhole), ring)


@pytest.mark.parametrize("far", [1e6, 1e300])
def test_far_beyond_the_image(far: float) -> None:
    assert filled([(-far, -far), (far, -far), (far, far), (-far, far)]).all()
    assert not filled([(far, far), (2 * far, far), (far, 2 * far)]).any()


def test_a_million_points_in_little_memory() -> None:
    turns = np.linspace(0, 2 * np.pi, 1_000_000, endpoint=False)
    # Every other point on the far side: each edge crosses hundreds of rows.
    radius = np.where(np.arange(turns.size) % 2, 100.0, -100.0)
    points = np.stack([128 + radius * np.cos(turns), 128 + radius * np.sin(turns)], axis=1)[:20_000]
    points = np.concatenate([points, np.full((980_000, 2), points[-1])])
    tracemalloc.start()
    filled(points, size=(256, 256))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 300 * 2**20
