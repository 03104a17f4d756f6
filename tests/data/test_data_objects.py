"""Every kind of mask becomes numbered objects, none lost and none invented."""

import numpy as np
import pytest
import torch
from fixtures_data import discs

from samft.data.objects import (
    decode_colours,
    drop_small,
    from_class_map,
    from_label_map,
    from_masks,
    stack_objects,
)
from samft.types import IGNORE, Sample


def sample(objects) -> Sample:
    height, width = objects.layers.shape[1:]
    return Sample(
        image=torch.zeros(3, height, width, dtype=torch.uint8),
        layers=torch.from_numpy(objects.layers),
        object_layer=torch.from_numpy(objects.object_layer),
        object_class=torch.from_numpy(objects.object_class),
        sample_id="a",
        case_id="a",
    )


@pytest.mark.parametrize("values", [[0, 1, 2, 3, 4], [0, 7, 3, 900, 65535], [0, 10**9, 5, 6, 1]])
def test_label_map_with_any_values(values: list[int]) -> None:
    labels = np.array(values, np.int32)[discs(0)]
    objects = from_label_map(labels)
    found = {mask.numpy().tobytes() for mask in sample(objects).masks()}
    assert found == {(labels == value).tobytes() for value in values[1:]}
    assert objects.object_class.tolist() == [0, 0, 0, 0]


def test_label_map_ignores_what_is_unknown() -> None:
    labels = np.array([[0, 3, 255], [-1, 3, 9]], np.int32)
    objects = from_label_map(labels, ignore_value=255, class_index=2)
    assert objects.layers.tolist() == [[[0, 1, IGNORE], [IGNORE, 1, 2]]]
    assert objects.object_class.tolist() == [2, 2]


def test_empty_label_map() -> None:
    objects = from_label_map(np.zeros((4, 5), np.int32))
    assert objects.layers.shape == (1, 4, 5)
    assert sample(objects).masks().shape == (0, 4, 5)


def test_masks_that_overlap_go_to_other_layers() -> None:
    masks = np.zeros((3, 6, 6), bool)
    masks[0, :3, :3], masks[1, 2:5, 2:5], masks[2, 5, 5] = True, True, True
    objects = from_masks(masks, (6, 6))
    assert objects.object_layer.tolist() == [0, 1, 0]
    assert np.array_equal(sample(objects).masks().numpy(), masks)


def test_no_masks_and_an_empty_one() -> None:
    assert from_masks([], (4, 5)).layers.shape == (1, 4, 5)
    objects = from_masks([np.zeros((4, 5), bool)], (4, 5))
    cleaned, dropped = drop_small(sample(objects), 1)
    assert (cleaned.num_objects, dropped) == (0, 1)


CLASSES = np.array([[1, 0, 1, 0], [0, 1, 0, 2], [2, 0, 0, 9]], np.int32)


def test_components_touch_at_corners() -> None:
    objects = from_class_map(CLASSES, {1: 0, 2: 1}, mode="component")
    masks = sample(objects).masks().numpy()
    assert objects.object_class.tolist() == [0, 1, 1]
    assert masks.sum(axis=(1, 2)).tolist() == [3, 1, 1]


def test_a_class_is_one_object() -> None:
    objects = from_class_map(CLASSES, {1: 0, 2: 1}, mode="class", ignore_value=9)
    assert objects.object_class.tolist() == [0, 1]
    assert np.array_equal(sample(objects).masks()[1].numpy(), CLASSES == 2)
    assert objects.layers[0, 2, 3] == IGNORE


def test_class_zero_can_be_real() -> None:
    objects = from_class_map(np.zeros((2, 3), np.int32), {0: 4}, mode="component")
    assert objects.object_class.tolist() == [4]
    assert (objects.layers == 1).all()


def test_components_equal_scipy_per_class() -> None:
    from scipy import ndimage

    classes = np.random.default_rng(0).integers(0, 4, (40, 50)).astype(np.int32)
    objects = from_class_map(classes, {1: 0, 2: 1, 3: 2}, mode="component")
    expected = set()
    for value in (1, 2, 3):
        pieces, count = ndimage.label(classes == value, np.ones((3, 3)))
        expected |= {(value - 1, (pieces == i + 1).tobytes()) for i in range(count)}
    masks = sample(objects).masks().numpy()
    found = {(c, m.tobytes()) for c, m in zip(objects.object_class.tolist(), masks, strict=True)}
    assert found == expected


def test_stacked_parts_keep_their_objects() -> None:
    first = from_label_map(discs(0), class_index=1)
    second = from_label_map(discs(1, count=2), class_index=0)
    both = stack_objects([first, second])
    masks = torch.cat([sample(first).masks(), sample(second).masks()])
    assert torch.equal(sample(both).masks(), masks)
    assert both.object_class.tolist() == [1, 1, 1, 1, 0, 0]


def test_small_objects_become_background_and_are_counted() -> None:
    labels = np.zeros((10, 10), np.int32)
    labels[0, 0], labels[2:5, 2:5], labels[8, :4], labels[9, 9] = 1, 2, 3, -1
    before = sample(from_label_map(labels))
    after, dropped = drop_small(before, 4)
    assert dropped == 1
    assert torch.equal(after.masks(), before.masks()[1:])
    assert after.layers[0, 0, 0] == 0
    assert after.layers[0, 9, 9] == IGNORE
    assert before.layers[0, 0, 0] == 1  # not changed in place
    assert drop_small(before, 1) == (before, 0)


PALETTE = [(0, 0, 0), (0, 0, 255), (255, 255, 0)]


def test_colours_of_corners_are_cut_in_the_middle() -> None:
    mask = np.array([[(3, 9, 0), (10, 100, 200), (255, 130, 127)]], np.uint8)
    assert decode_colours(mask, PALETTE)[0].tolist() == [[0, 1, 2]]
    assert decode_colours(mask, PALETTE)[1] is None


def test_other_palettes_must_match_exactly() -> None:
    palette = [(0, 0, 0), (128, 64, 0), (70, 70, 70)]
    mask = np.array([[(70, 70, 70), (128, 64, 0), (128, 64, 1)]], np.uint8)
    decoded, unexpected = decode_colours(mask, palette)
    assert decoded[0, :2].tolist() == [2, 1]
    assert unexpected == (128, 64, 1)


def test_unexpected_colour_is_reported_as_it_is_in_the_file() -> None:
    mask = np.array([[(0, 0, 0), (250, 3, 251)]], np.uint8)
    assert decode_colours(mask, PALETTE)[1] == (250, 3, 251)
