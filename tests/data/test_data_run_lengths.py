"""COCO run lengths: the same bytes and pixels as pycocotools, and no trust in either."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from samft.data.patches import Patch
from samft.data.run_lengths import compress, counts_of, encode, patch_of_counts

any_mask = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=25))


def packed(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@settings(max_examples=100, deadline=None)
@given(any_mask)
def test_bytes_are_those_of_pycocotools(mask) -> None:
    data = packed(mask)
    counts = counts_of(data, mask.shape)
    assert compress(counts) == data
    assert compress(encode(Patch(0, 0, mask), mask.shape)) == data
    decoded = np.repeat(np.arange(counts.size) % 2 == 1, counts).reshape(mask.shape[::-1]).T
    assert np.array_equal(decoded, mask)


@settings(max_examples=50, deadline=None)
@given(any_mask, st.tuples(*[st.integers(0, 24)] * 2), st.tuples(*[st.integers(1, 30)] * 2))
def test_a_window_of_them(mask, corner, extent) -> None:
    patch = patch_of_counts(counts_of(packed(mask), mask.shape), mask.shape, (*corner, *extent))
    found = np.zeros(extent, bool)
    if patch is not None:
        found[patch.box] = patch.mask
        assert patch.mask.any(axis=0)[[0, -1]].all()
        assert patch.mask.any(axis=1)[[0, -1]].all()
    expected = np.zeros(extent, bool)
    part = mask[corner[0] : corner[0] + extent[0], corner[1] : corner[1] + extent[1]]
    expected[: part.shape[0], : part.shape[1]] = part
    assert np.array_equal(found, expected)


def test_long_runs() -> None:
    size = (60_000, 30_000)
    counts = np.array([2**30, 5, size[0] * size[1] - 2**30 - 5], np.int64)
    expected = coco_mask.frPyObjects({"size": list(size), "counts": counts.tolist()}, *size)
    assert compress(counts) == expected["counts"]
    assert counts_of(expected["counts"], size).tolist() == counts.tolist()


def test_background_at_the_end_may_be_missing_from_a_list() -> None:
    assert counts_of([2, 3], (2, 5)).tolist() == [2, 3, 5]
    assert counts_of([], (2, 5)).tolist() == [10]
    assert counts_of([2.0, 3.0, 5.0], (2, 5)).tolist() == [2, 3, 5]


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ([2, 3, 4], "9 pixels together, 10"),
        ([2, 9], "11 pixels together"),
        ([2, -3, 11], "a run of -3"),
        ([2.5, 7.5], "no whole numbers"),
        (["a"], "no numbers"),
        ([[1, 2]], "no numbers"),
        ({"a": 1}, "dict instead of"),
        (None, "NoneType instead of"),
        ("\x05", "characters"),
        ("é", "pixels|characters"),
        ("PPP", "cut off"),
        ("P" * 9 + "0", "longer than any image"),
        (b"", "0 pixels together"),
    ],
)
def test_what_they_cannot_be(counts, found) -> None:
    with pytest.raises(ValueError, match=found):
        counts_of(counts, (2, 5))


def test_nothing_is_all_background() -> None:
    assert encode(None, (3, 4)).tolist() == [12]
    assert encode(Patch(1, 1, np.zeros((2, 2), bool)), (3, 4)).tolist() == [12]


def test_more_pixels_than_the_format_counts() -> None:
    with pytest.raises(ValueError, match="runs of 4294967296 pixels"):
        compress(np.array([0, 2**32]))
