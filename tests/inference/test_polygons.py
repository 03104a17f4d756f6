"""Outlines cover exactly the pixels of their masks, in the form that GeoJSON asks for."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from samft.inference.polygons import Ring, mask_polygons, signed_area

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def filled(ring: Ring, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels inside a ring by the even-odd rule."""
    inside = np.zeros(size, bool)
    for (x1, y1), (x2, y2) in pairwise(ring):
        if x1 == x2:
            inside[min(y1, y2) : max(y1, y2), x1:] ^= True
    return inside


@given(MASKS)
@settings(deadline=None, max_examples=300)
def test_polygons_cover_the_mask(mask: NDArray[np.bool_]) -> None:
    polygons = mask_polygons(mask)
    assert len(polygons) == ndimage.label(mask)[1]
    covered = np.zeros(mask.shape, int)
    for polygon in polygons:
        inside = filled(polygon.outline, mask.shape)
        for hole in polygon.holes:
            assert (inside | ~filled(hole, mask.shape)).all()  # the hole lies inside
            inside &= ~filled(hole, mask.shape)
        covered += inside
    assert np.array_equal(covered, mask)


@given(MASKS)
@settings(deadline=None, max_examples=200)
def test_rings_are_closed_simple_and_turn_as_they_should(mask: NDArray[np.bool_]) -> None:
    for polygon in mask_polygons(mask):
        assert signed_area(polygon.outline) > 0
        for ring in (polygon.outline, *polygon.holes):
            assert ring[0] == ring[-1]
            assert len(set(ring)) == len(ring) - 1 >= 4
            steps = np.diff(np.array(ring), axis=0)
            assert (np.count_nonzero(steps, axis=1) == 1).all()
        assert all(signed_area(hole) < 0 for hole in polygon.holes)


def test_one_pixel() -> None:
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True
    (polygon,) = mask_polygons(mask)
    assert sorted(set(polygon.outline)) == [(3, 2), (3, 3), (4, 2), (4, 3)]
