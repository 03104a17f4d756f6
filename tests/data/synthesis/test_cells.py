"""Populations of cells: how far outside a border its outline may be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samft.data.synthesis.cells import annotation_margin, draw_cells, grown


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), margin=st.floats(1, 6))
def test_grown_labels_go_to_the_nearest_object_within_the_margin(seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((48, 40), np.int32)
    for value in range(1, 6):
        y, x = rng.integers(0, 36, 2)
        labels[y : y + rng.integers(1, 9), x : x + rng.integers(1, 4)] = value * 3
    larger = grown(labels, margin)
    distance = ndimage.distance_transform_edt(labels == 0)
    own = np.stack(
        [ndimage.distance_transform_edt(labels != value) for value in np.unique(labels)[1:]]
    )
    assert (larger[labels > 0] == labels[labels > 0]).all()
    # OpenCV's distances are a few per cent off.
    assert (larger[distance <= margin * 0.95] > 0).all()
    assert (larger[distance > margin * 1.05] == 0).all()
    taken = np.searchsorted(np.unique(labels)[1:], larger)
    rows, columns = np.nonzero(larger)
    at = own[taken[rows, columns], rows, columns]
    assert (at <= distance[rows, columns] * 1.05 + 0.5).all()


def test_labels_without_objects_stay_empty() -> None:
    assert not grown(np.zeros((8, 8), np.int32), 3).any()


@pytest.mark.parametrize("widest", [0.2, 0.35])
def test_margins_are_often_nothing_and_never_wider_than_asked(widest: float) -> None:
    rng = np.random.default_rng(0)
    cells = draw_cells(rng, 128, smallest=16, largest=32, most=20)
    margins = np.array([annotation_margin(rng, cells, widest=widest) for _ in range(200)])
    limit = min(widest * float(np.median(cells.radii)), 128 / 64)
    assert 0.25 < (margins == 0).mean() < 0.55
    assert margins.max() <= limit
    assert margins.max() > limit / 2


def test_a_margin_makes_the_objects_larger() -> None:
    cells = draw_cells(np.random.default_rng(1), 128, smallest=16, largest=32, most=20)
    tight, wide = (cells.layers(margin).objects(0) for margin in (0.0, 2.0))
    assert (wide.layers > 0).sum() > (tight.layers > 0).sum() * 1.1
    assert len(wide.object_class) == len(tight.object_class)
