"""Specks go, everything else stays."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from samft.inference.small_regions import clean_regions


def areas(mask):
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return [int((labels == index + 1).sum()) for index in range(count)]


@settings(deadline=None, max_examples=50)
@given(
    mask=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)),
    min_area=st.integers(0, 12),
)
def test_no_speck_is_left(mask, min_area) -> None:
    before = mask.copy()
    cleaned, had_specks = clean_regions(mask, min_area)
    assert np.array_equal(mask, before)
    assert had_specks or np.array_equal(cleaned, mask)
    small_holes = [area for area in areas(~mask) if area < min_area]
    islands = areas(cleaned)
    if len(islands) > 1:
        assert min(islands) >= min_area
    if not small_holes:
        assert had_specks == any(area < min_area for area in areas(mask))
    filled = mask.copy()
    labels, count = ndimage.label(~mask, np.ones((3, 3)))
    for index in range(count):
        if (labels == index + 1).sum() < min_area:
            filled |= labels == index + 1
    assert not (cleaned & ~filled).any()
    assert max(areas(filled), default=0) == max(islands, default=0)


def test_a_hole_an_island_and_their_sizes() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:7, 5:7] = False  # a hole of 4
    mask[15:18, 15:18] = True  # an island of 9
    same, changed = clean_regions(mask, 4)
    assert not changed
    assert np.array_equal(same, mask)
    filled, changed = clean_regions(mask, 5)
    assert changed
    assert filled[5:7, 5:7].all()
    assert filled[15:18, 15:18].all()
    assert not clean_regions(mask, 10)[0][15:18, 15:18].any()


def test_of_small_islands_only_the_largest_stays() -> None:
    mask = np.zeros((10, 10), bool)
    mask[1, 1:3] = mask[5, 5:8] = True
    cleaned, changed = clean_regions(mask, 50)
    assert changed
    assert areas(cleaned) == [3]
