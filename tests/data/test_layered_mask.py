"""Masks on top of each other: whatever the mode, no pixel is lost and no object is invented."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samft.data.layered_mask import LayeredMask, MaskLayer, pack_objects


def union(objects, class_index: int) -> np.ndarray:
    inside = np.zeros(objects.layers.shape[1:], bool)
    for k, (layer, found) in enumerate(
        zip(objects.object_layer, objects.object_class, strict=True)
    ):
        if found == class_index:
            inside |= objects.layers[layer] == k + 1
    return inside


LABELS = arrays(np.uint8, (9, 11), elements=st.integers(0, 4))
MODE = st.sampled_from(["component", "class", "value"])


@settings(deadline=None, max_examples=25)
@given(LABELS, LABELS, MODE, st.booleans())
def test_every_class_keeps_its_pixels(first, second, mode, joined) -> None:
    classes = {1: 0, 2: 0, 3: 1}
    layers = [
        MaskLayer(values=first, class_of=classes, joined=joined),
        MaskLayer(values=second, class_of={4: 1}),
    ]
    mask = LayeredMask(size=(9, 11), layers=tuple(layers))
    objects = mask.objects(mode)
    np.testing.assert_array_equal(union(objects, 0), np.isin(first, (1, 2)))
    np.testing.assert_array_equal(union(objects, 1), (first == 3) | (second == 4))
    if mode == "class":
        assert len(set(objects.object_class)) == len(objects.object_class)
    part = mask.objects(mode, window=(2, 3, 5, 6))
    np.testing.assert_array_equal(union(part, 1), union(objects, 1)[2:7, 3:9])


@settings(deadline=None, max_examples=25)
@given(st.lists(arrays(bool, (6, 7)), max_size=6), MODE)
def test_a_packed_mask_is_one_object(masks, mode) -> None:
    filled = [mask for mask in masks if mask.any()]
    packed = pack_objects(((mask, 0) for mask in filled), (6, 7), count=len(filled))
    objects = packed.objects(mode)
    if mode == "class":
        assert len(objects.object_class) == bool(filled)
        return
    found = [objects.layers[layer] == k + 1 for k, layer in enumerate(objects.object_layer)]
    assert sorted(mask.tobytes() for mask in found) == sorted(mask.tobytes() for mask in filled)


def test_joined_values_make_one_piece() -> None:
    values = np.array([[1, 2, 0, 2]], np.uint8)
    apart = MaskLayer(values=values, class_of={1: 0, 2: 0})
    joined = MaskLayer(values=values, class_of={1: 0, 2: 0}, joined=True)
    counts = [
        len(LayeredMask(size=(1, 4), layers=(layer,)).objects("component").object_class)
        for layer in (apart, joined)
    ]
    assert counts == [3, 2]


@pytest.mark.parametrize("mode", ["component", "class", "value"])
@pytest.mark.parametrize("joined", [False, True])
def test_what_is_unknown_stays_unknown(mode, joined) -> None:
    values = np.array([[1, 1, 9, 0]], np.uint8)
    layer = MaskLayer(values=values, class_of={1: 0}, joined=joined)
    objects = LayeredMask(size=(1, 4), layers=(layer,), ignore_value=9).objects(mode)
    assert objects.layers.tolist() == [[[1, 1, -1, 0]]]


def test_a_slice_of_a_volume_and_no_masks() -> None:
    values = np.zeros((3, 4, 5), np.uint8)
    values[1, 2, 3] = 1
    shared = (
        MaskLayer(values=values, class_of={1: 0}),
        MaskLayer(values=values, class_of={1: 1}),
    )
    mask = LayeredMask(size=values.shape, layers=shared)
    assert mask.nbytes == values.nbytes
    assert mask.objects("component", at=(0, 1)).object_class.tolist() == [0, 1]
    assert mask.objects("component", at=(2, 3)).layers.shape == (2, 3, 4)
    assert mask.objects("component", at=(0, 0)).object_class.size == 0
    nothing = LayeredMask(size=(3, 4, 5))
    assert nothing.objects("component", at=(1, 0)).layers.shape == (1, 3, 5)
    assert nothing.objects("class", at=(0, 0), window=(0, 0, 2, 2)).layers.shape == (1, 2, 2)
