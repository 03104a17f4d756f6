"""Masks that overlap, as labels that do not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from samft.inference.disjoint import LabelledMasks, disjoint_masks, pair_ious
from samft.inference.records import MaskRecord
from samft.inference.run_lengths import RunLengths

MASKS = arrays.arrays(np.bool_, st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9)))


def record(mask, score: float) -> MaskRecord:
    return MaskRecord(
        runs=RunLengths.encode(mask),
        box=(0, 0, 1, 1),
        predicted_iou=score,
        stability_score=1.0,
        prompt=(0.0, 0.0),
        crop_box=(0, 0, 1, 1),
    )


@settings(deadline=None, max_examples=50)
@given(MASKS, st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_the_most_confident_mask_has_the_pixel(masks, min_visible) -> None:
    scores = [0.5, 0.9, 0.7]
    found = disjoint_masks(
        [record(mask, score) for mask, score in zip(masks, scores, strict=True)],
        masks.shape[1:],
        min_visible=min_visible,
    )
    expected = np.zeros(masks.shape[1:], int)
    kept: list[float] = []
    for index in (1, 2, 0):
        free = masks[index] & (expected == 0)
        if free.any() and free.sum() >= min_visible * masks[index].sum():
            kept.append(scores[index])
            expected[free] = len(kept)
    assert np.array_equal(found.labels, expected)
    assert np.allclose(found.scores, kept)


def test_areas_and_boxes() -> None:
    labels = np.array([[0, 2, 2], [1, 0, 2]], np.int32)
    masks = LabelledMasks(labels, np.ones(2, np.float32))
    assert masks.areas().tolist() == [1, 3]
    assert masks.boxes() == [(0, 1, 1, 2), (1, 0, 3, 2)]
    assert LabelledMasks(labels * 0, np.zeros(0, np.float32)).boxes() == []


LABELS = arrays.arrays(np.int32, (2, 6, 7), elements=st.integers(0, 3))


@settings(deadline=None, max_examples=50)
@given(LABELS)
def test_pair_ious_are_those_of_the_masks(maps) -> None:
    one, other = maps
    pairs, ious = pair_ious(one, other)
    found = {tuple(pair): iou for pair, iou in zip(pairs.tolist(), ious, strict=True)}
    for first in range(1, 4):
        for second in range(1, 4):
            both = ((one == first) & (other == second)).sum()
            either = ((one == first) | (other == second)).sum()
            assert found.get((first, second), 0.0) == (both / either if both else 0.0)
