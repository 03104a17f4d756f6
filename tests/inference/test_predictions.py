"""Run-length masks, label maps."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samft.inference.predictions import (
    ObjectPrediction,
    decode_rle,
    encode_rle,
    label_map,
    rle_area,
    rle_box,
)

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(masks)
@settings(max_examples=50, deadline=None)
def test_rle_round_trip(mask: np.ndarray) -> None:
    rle = encode_rle(mask)
    assert isinstance(rle["counts"], str)
    assert rle["size"] == list(mask.shape)
    assert np.array_equal(decode_rle(rle), mask)
    assert rle_area(rle) == mask.sum()


def test_box_is_xywh() -> None:
    mask = np.zeros((10, 20), bool)
    mask[2:5, 7:11] = True
    assert rle_box(encode_rle(mask)) == [7, 2, 4, 3]
    assert rle_box(encode_rle(np.zeros((3, 3), bool))) == [0, 0, 0, 0]


def item(mask: np.ndarray, score: float) -> ObjectPrediction:
    return ObjectPrediction(rle=encode_rle(mask), score=score, prompt={}, prompt_id=1)


def test_the_better_mask_wins_where_two_overlap() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:3], b[2:] = True, True
    expected = np.array([[1] * 4, [1] * 4, [1] * 4, [2] * 4])
    assert np.array_equal(label_map([item(a, 0.9), item(b, 0.5)], (4, 4)), expected)
    expected[2] = 2
    assert np.array_equal(label_map([item(a, 0.5), item(b, 0.9)], (4, 4)), expected)


def test_no_objects() -> None:
    assert label_map([], (3, 5)).sum() == 0
