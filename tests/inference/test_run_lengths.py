"""Run lengths: there and back, and the same as COCO's."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra import numpy as hnp

from samft.inference.predictions import encode_rle
from samft.inference.run_lengths import RunLengths

quick = settings(deadline=None, max_examples=50)
masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


@quick
@given(mask=masks)
@example(mask=np.ones((3, 2), bool))
@example(mask=np.zeros((3, 2), bool))
def test_there_and_back_and_as_coco_does(mask) -> None:
    runs = RunLengths.encode(mask)
    assert np.array_equal(runs.decode(), mask)
    assert runs.area == mask.sum()
    assert runs.coco() == encode_rle(mask)
    counts = runs.uncompressed()["counts"]
    assert sum(counts) == mask.size
    assert min(counts[1:], default=1) > 0


@quick
@given(mask=masks, left=st.integers(0, 3), top=st.integers(0, 3), more=st.integers(0, 3))
def test_a_window_of_a_larger_image(mask, left, top, more) -> None:
    height, width = mask.shape
    whole = np.zeros((top + height + more, left + width + more), bool)
    whole[top : top + height, left : left + width] = mask
    runs = RunLengths.encode(mask, origin=(left, top), size=whole.shape)
    assert np.array_equal(runs.decode(), whole)
    assert runs.coco() == encode_rle(whole)


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 1], [1, 1]], [1, 3]),
        ([[1, 0], [1, 0]], [0, 2, 2]),
        ([[0, 0], [0, 0]], [4]),
        ([[1, 1], [1, 1]], [0, 4]),
    ],
)
def test_column_by_column_and_background_first(mask, counts) -> None:
    runs = RunLengths.encode(np.array(mask, bool))
    assert runs.uncompressed() == {"size": [2, 2], "counts": counts}
