"""Suppression does what its definition says, for boxes and masks."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import given, settings

from samft.inference.nms import box_nms, mask_nms
from samft.inference.predictions import encode_rle

quick = settings(deadline=None, max_examples=50)
thresholds = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.6, 0.7, 1.0])
side = st.integers(0, 12)
boxes_and_scores = st.lists(st.tuples(side, side, side, side, st.sampled_from([0.1, 0.5, 0.9])))


def greedy(scores, iou, threshold):
    """The definition: best first, equal ones in order, each against all that were kept."""
    kept: list[int] = []
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        if not any(iou(other, index) > threshold for other in kept):
            kept.append(index)
    return kept


@quick
@given(rows=boxes_and_scores, threshold=thresholds)
def test_boxes_as_by_a_plain_loop(rows, threshold) -> None:
    boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in rows]
    scores = [row[-1] for row in rows]

    def iou(i, j):
        a, b = boxes[i], boxes[j]
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - width * height
        return width * height / union if union else 0.0

    found = box_nms(torch.tensor(boxes).float(), torch.tensor(scores), threshold)
    assert found.tolist() == greedy(scores, iou, threshold)


@quick
@given(seed=st.integers(0, 2**16), count=st.integers(0, 8), threshold=thresholds)
def test_masks_as_by_a_plain_loop(seed, count, threshold) -> None:
    generator = np.random.default_rng(seed)
    masks = np.zeros((count, 7, 9), bool)
    for mask in masks:
        y, x, h, w = generator.integers(0, 7, 4)
        mask[y : y + h, x : x + w] = generator.random((7, 9))[y : y + h, x : x + w] < 0.8
    scores = generator.choice([0.2, 0.4, 0.8], count)

    def iou(i, j):
        union = (masks[i] | masks[j]).sum()
        return (masks[i] & masks[j]).sum() / union if union else 0.0

    found = mask_nms([encode_rle(mask) for mask in masks], torch.from_numpy(scores), threshold)
    assert found.tolist() == greedy(scores, iou, threshold)


def test_an_overlap_of_just_the_threshold_stays() -> None:
    boxes = torch.tensor([[0, 0, 10, 6], [0, 0, 10, 10]])  # IoU 0.6, above it in single precision
    assert box_nms(boxes, torch.tensor([1.0, 0.5]), 0.6).tolist() == [0, 1]
    assert box_nms(boxes, torch.tensor([1.0, 0.5]), 0.59).tolist() == [0]
    assert box_nms(boxes, torch.tensor([0.5, 1.0]), 0.59).tolist() == [1]


def test_masks_may_stay_where_boxes_would_go() -> None:
    ring = np.zeros((20, 20), bool)
    ring[[0, -1]] = ring[:, [0, -1]] = True
    inner = np.zeros((20, 20), bool)
    inner[1:-1, 1:-1] = True
    rles, scores = [encode_rle(ring), encode_rle(inner)], torch.tensor([0.5, 0.9])
    assert mask_nms(rles, scores, 0.7).tolist() == [1, 0]
    boxes = torch.tensor([[0, 0, 19, 19], [1, 1, 18, 18]])
    assert box_nms(boxes, scores, 0.7).tolist() == [1]
