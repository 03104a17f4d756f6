"""Linking: which masks of neighbouring slices are one object."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from samft.errors import ConfigError
from samft.inference.disjoint import LabelledMasks
from samft.inference.linking import Gap, interpolated, link
from samft.inference.volume_settings import LinkSettings

STACKS = arrays.arrays(np.int32, (2, 5, 6), elements=st.integers(0, 3))


def slices(stack) -> list[LabelledMasks]:
    """Masks of every slice, its labels made consecutive."""
    found = []
    for labels in stack:
        names, places = np.unique(np.append(labels.ravel(), 0), return_inverse=True)
        scores = np.full(len(names) - 1, 0.5, np.float32)
        found.append(LabelledMasks(places[:-1].reshape(labels.shape).astype(np.int32), scores))
    return found


def linked(stack, **options):
    masks = slices(stack)
    return link(len(masks), masks.__getitem__, LinkSettings(**options))


@settings(deadline=None, max_examples=50)
@given(STACKS)
def test_the_sum_of_ious_is_the_largest_there_is(stack) -> None:
    one, other = slices(stack)
    ious = np.zeros((3, 3))
    for a in range(one.count):
        for b in range(other.count):
            first, second = one.labels == a + 1, other.labels == b + 1
            iou = (first & second).sum() / (first | second).sum()
            ious[a, b] = iou if iou >= 0.2 else 0
    before, after = linked(stack, link_iou=0.2, max_gap=0).of_slice
    assert len(set(before)) == one.count
    assert len(set(after)) == other.count
    pairs = [(a, b) for a in range(len(before)) for b in range(len(after)) if before[a] == after[b]]
    assert all(ious[pair] >= 0.2 for pair in pairs)
    best = max(ious[range(3), order].sum() for order in map(list, permutations(range(3))))
    assert sum(ious[pair] for pair in pairs) == pytest.approx(best)


def test_gaps_are_bridged_up_to_a_length() -> None:
    stack = np.zeros((6, 4, 4), np.int32)
    stack[0, :2, :2] = stack[1, :2, :2] = stack[4, :2, :2] = 7
    stack[4, 3, 3] = stack[5, 3, 3] = 2
    tracks = linked(stack, max_gap=2)
    assert [track.tolist() for track in tracks.of_slice] == [[0], [0], [], [], [1, 0], [1]]
    assert tracks.gaps == [Gap(0, (1, 1), (4, 2))]
    assert tracks.voxels.tolist() == [12, 2]
    assert tracks.seen.tolist() == [3, 2]
    assert tracks.scores.tolist() == [0.5, 0.5]
    assert tracks.numbers(LinkSettings()).tolist() == [1, 2, 0]
    assert tracks.numbers(LinkSettings(min_voxels=3)).tolist() == [1, 0, 0]
    assert tracks.numbers(LinkSettings(min_slices=4)).tolist() == [0, 0, 0]
    apart = linked(stack, max_gap=1)
    assert [track.tolist() for track in apart.of_slice] == [[0], [0], [], [], [1, 2], [1]]
    assert apart.gaps == []


def test_a_neighbour_goes_before_a_gap() -> None:
    stack = np.zeros((3, 4, 8), np.int32)
    stack[0, :, :4] = 1
    stack[1, :, 2:6] = 1  # IoU 1/3 with both
    stack[2, :, 1:5] = 1
    tracks = linked(stack, max_gap=2, link_iou=0.3)
    assert [track.tolist() for track in tracks.of_slice] == [[0], [0], [0]]
    assert tracks.gaps == []


def test_the_shape_between_two_discs_is_a_disc() -> None:
    rows, columns = np.mgrid[:41, :41]
    squared = (rows - 20) ** 2 + (columns - 20) ** 2
    for share, radius in ((0.0, 6), (0.25, 8), (0.5, 10), (1.0, 14)):
        found = interpolated(squared < 36, squared < 196, share)
        expected = squared < radius**2
        assert (found & expected).sum() / (found | expected).sum() > 0.93


def test_settings() -> None:
    with pytest.raises(ConfigError, match=r"link_iou is out of range\n  where: links.link_iou"):
        LinkSettings.from_dict({"link_iou": 0.0})
    with pytest.raises(ConfigError, match=r"unknown setting 'gap'"):
        LinkSettings.from_dict({"gap": 1})
