"""Painting and the label layers that go with it."""

import numpy as np

from samft.data.synthesis.canvas import (
    MAX_OBJECTS,
    MIN_AREA,
    LabelLayers,
    object_colours,
    paint,
    warp,
)
from samft.data.synthesis.optics import blur
from samft.data.synthesis.shapes import Region, Shape, blob, region_of


def square(top: int, left: int, side: int) -> Region:
    box = (slice(top, top + side), slice(left, left + side))
    return Region(box=box, mask=np.ones((side, side), bool))


def test_later_objects_hide_earlier_ones_in_all_layers() -> None:
    layers = LabelLayers(32)
    behind = layers.add(square(0, 0, 16))
    layers.add_part(square(4, 4, 8), behind)
    layers.add(square(8, 8, 16))
    objects = layers.objects(3)
    assert objects.layers.shape == (2, 32, 32)
    assert objects.object_layer.tolist() == [0, 1, 0]
    assert objects.object_class.tolist() == [3, 3, 3]
    areas = [int((objects.layers[layer] == k + 1).sum()) for k, layer in enumerate((0, 1, 0))]
    assert areas == [256 - 64, 64 - 16, 256]


def test_a_part_ends_where_its_whole_does() -> None:
    layers = LabelLayers(32)
    whole = layers.add(square(0, 0, 10))
    layers.add_part(square(5, 5, 20), whole)
    objects = layers.objects(0)
    assert int((objects.layers[1] == 2).sum()) == 25


def test_what_cannot_be_seen_is_no_object() -> None:
    layers = LabelLayers(32)
    layers.add(square(0, 0, 2))  # 4 pixels
    layers.add(square(10, 10, 8))
    layers.add(square(10, 10, 8))  # hides the one before
    layers.add(square(20, 20, 4))
    objects = layers.objects(0)
    assert objects.layers.max() == objects.object_layer.size == 2
    assert min(int((objects.layers == k).sum()) for k in (1, 2)) >= MIN_AREA


def test_too_many_objects() -> None:
    layers = LabelLayers(128)
    labels = np.arange(1024, dtype=np.int32).reshape(32, 32).repeat(4, 0).repeat(4, 1)
    layers.add_map(labels, 1023)
    layers.add(square(0, 0, 12))
    objects = layers.objects(0)
    assert objects.object_layer.size == MAX_OBJECTS
    assert int((objects.layers == MAX_OBJECTS).sum()) == 144  # the largest is among them


def test_an_empty_image() -> None:
    objects = LabelLayers(16).objects(0)
    assert objects.layers.shape == (1, 16, 16)
    assert objects.object_layer.size == 0


def test_half_of_the_step_lies_on_the_border() -> None:
    rng = np.random.default_rng(0)
    image = np.full((96, 96, 3), 40, np.float32)
    region = region_of(Shape(contours=[blob(rng, (47.3, 50.8), 25, elongation=1.6)]), 96)
    colour = np.full(3, 200, np.float32)
    paint(image, region, colour, colour, np.zeros((96, 96), np.float32))
    mask = np.zeros((96, 96), bool)
    mask[region.box] = region.mask
    assert ((image[..., 1] == 200) == mask).all()
    for sigma in (0.6, 1.2, 2.0):
        above = blur(image, sigma)[..., 0] > 120
        assert (above != mask).sum() <= 0.02 * mask.sum()


def test_paint_keeps_to_the_region_and_follows_the_texture() -> None:
    image = np.zeros((8, 8, 3), np.float32)
    field = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    low, high = np.array([10, 20, 30], np.float32), np.array([110, 20, 0], np.float32)
    region = Region(box=(slice(2, 6), slice(1, 5)), mask=np.eye(4, dtype=bool))
    paint(image, region, low, high, field)
    assert (image.sum(-1) > 0).sum() == 4
    np.testing.assert_allclose(image[3, 2], low + field[3, 2] * (high - low), rtol=1e-5)


def test_object_colours_differ_from_what_is_behind() -> None:
    image = np.full((32, 32, 3), 90, np.float32)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        low, high = object_colours(rng, image, square(4, 4, 20), grey=True)
        assert np.ptp(low) == np.ptp(high) == 0
        assert abs(low[0] - 90) >= 13
        assert 0 <= high.min() <= high.max() <= 255


def test_image_and_labels_bend_together() -> None:
    image = np.zeros((64, 64, 3), np.float32)
    layers = LabelLayers(64)
    region = region_of(Shape(contours=[blob(np.random.default_rng(0), (30, 30), 15)]), 64)
    layers.add(region)
    image[layers.layers[0] > 0] = 255
    before = layers.layers[0].copy()
    bent = warp(np.random.default_rng(2), image, layers, reach=6, cell=20)
    assert (layers.layers[0] != before).any()
    assert layers.layers[0].dtype == np.int32
    assert ((bent[..., 2] == 255) == (layers.layers[0] == 1)).all()
