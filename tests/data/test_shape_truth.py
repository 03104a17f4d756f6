"""Outlines become the pixels that pycocotools gives them, in layers, window by window."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from samft.data import shapes as shapes_module
from samft.data.objects import Objects
from samft.data.shapes import OUTSIDE, TOO_FEW_POINTS, Shape, ShapeTruth
from samft.errors import DatasetError
from samft.types import IGNORE

SIZE = (40, 50)


def box(left, top, right, bottom) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def shape(*rings, name="cell", **settings) -> Shape:
    return Shape(class_name=name, outer=tuple(rings), **settings)


def masks(objects: Objects) -> list[np.ndarray]:
    return [objects.layers[layer] == k + 1 for k, layer in enumerate(objects.object_layer)]


def by_pycocotools(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    encoded = coco_mask.frPyObjects([ring.reshape(-1).tolist()], *size)
    return coco_mask.decode(encoded)[..., 0].astype(bool)


def truth(*parts: Shape, size=SIZE, classes=("cell",), where=None) -> ShapeTruth:
    return ShapeTruth(parts, size, {n: i for i, n in enumerate(classes)}, where=where)


coordinate = st.one_of(
    st.integers(-30, 90).map(float),
    st.integers(-120, 360).map(lambda n: n / 4),
    st.floats(-30, 90, allow_nan=False, width=32),
)
polygons = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=12).map(np.array)


@settings(max_examples=150, deadline=None)
@given(polygons, st.integers(1, 60), st.integers(1, 60))
def test_pixels_are_those_of_pycocotools(ring, height, width) -> None:
    found = masks(truth(shape(ring), size=(height, width)).objects("component"))
    expected = by_pycocotools(ring, (height, width))
    if not expected.any():
        assert found == []
    else:
        assert np.array_equal(found[0], expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(polygons, min_size=1, max_size=5), st.data())
def test_a_window_shows_what_the_whole_image_shows(rings, data) -> None:
    top, left = data.draw(st.integers(0, 39)), data.draw(st.integers(0, 49))
    height, width = data.draw(st.integers(1, 40 - top)), data.draw(st.integers(1, 50 - left))
    known = truth(*(shape(ring) for ring in rings))
    whole = masks(known.objects("component"))
    part = masks(known.objects("component", window=(top, left, height, width)))
    cut = [mask[top : top + height, left : left + width] for mask in whole]
    assert [m.tobytes() for m in part] == [m.tobytes() for m in cut if m.any()]


def test_pixel_convention() -> None:
    (mask,) = masks(truth(shape(box(2, 3, 5, 7))).objects("component"))
    assert np.argwhere(mask).min(axis=0).tolist() == [3, 2]
    assert np.argwhere(mask).max(axis=0).tolist() == [6, 4]


def test_overlap_goes_to_another_layer() -> None:
    found = truth(shape(box(0, 0, 10, 10)), shape(box(5, 5, 15, 15)), shape(box(20, 20, 30, 30)))
    objects = found.objects("component")
    assert objects.object_layer.tolist() == [0, 1, 0]
    assert [int(m.sum()) for m in masks(objects)] == [100, 100, 100]


def test_holes_and_parts() -> None:
    ring = shape(box(0, 0, 10, 10), box(20, 0, 30, 10), holes=(box(4, 4, 6, 6), box(25, 5, 45, 8)))
    (mask,) = masks(truth(ring).objects("component"))
    assert int(mask.sum()) == 200 - 4 - 15
    assert not mask[4:6, 4:6].any()
    assert masks(truth(shape(box(1, 1, 3, 3), holes=(box(0, 0, 9, 9),))).objects("component")) == []


def test_group_is_one_object() -> None:
    parts = [
        shape(box(0, 0, 4, 4), group="a"),
        shape(box(9, 9, 12, 12)),
        shape(box(20, 20, 24, 24), group="a"),
        shape(box(30, 30, 32, 32), group="1"),
    ]
    found = masks(truth(*parts).objects("component"))
    assert [int(m.sum()) for m in found] == [32, 9, 4]


def test_class_mode_joins_and_keeps_order() -> None:
    parts = [shape(box(0, 0, 4, 4), name="b"), shape(box(2, 2, 6, 6), name="b"),
             shape(box(3, 3, 9, 9), name="a"), shape(box(0, 0, 50, 40), name="c")]  # fmt: skip
    objects = truth(*parts, classes=("a", "b")).objects("class")
    assert objects.object_class.tolist() == [0, 1]
    assert [int(m.sum()) for m in masks(objects)] == [36, 28]
    assert objects.object_layer.tolist() == [0, 1]


def test_classes_that_do_not_count() -> None:
    parts = [shape(box(0, 0, 4, 4), name="x"), shape(box(5, 5, 7, 7), name="b")]
    objects = truth(*parts, classes=("a", "b")).objects("component")
    assert objects.object_class.tolist() == [1]


def test_unknown_is_ignored_where_no_object_lies() -> None:
    parts = [shape(box(0, 0, 4, 4)), shape(box(2, 2, 6, 6)),
             shape(box(0, 0, 8, 8), name="crowd of anything", unknown=True)]  # fmt: skip
    objects = truth(*parts).objects("component")
    assert len(objects.layers) == 2
    object_pixels = np.zeros(SIZE, bool)
    for mask in masks(objects):
        object_pixels |= mask
    inside = np.zeros(SIZE, bool)
    inside[:8, :8] = True
    for layer in objects.layers:
        assert np.array_equal(layer == IGNORE, inside & ~object_pixels)


def test_only_unknown() -> None:
    objects = truth(shape(box(0, 0, 2, 2), unknown=True)).objects("value")
    assert objects.layers.shape == (1, *SIZE)
    assert int((objects.layers == IGNORE).sum()) == 4
    assert objects.object_class.size == 0


def test_bitmaps_and_run_lengths() -> None:
    bitmap = np.zeros((6, 6), bool)
    bitmap[1:, 2:] = True
    full = np.zeros(SIZE, bool)
    full[10:20, 30:45] = True
    rle = coco_mask.encode(np.asfortranarray(full.astype(np.uint8)))
    parts = [Shape(class_name="cell", bitmap=bitmap, bitmap_at=(-3, 37)),
             Shape(class_name="cell", rle=rle)]  # fmt: skip
    found = masks(truth(*parts).objects("component"))
    expected = np.zeros(SIZE, bool)
    expected[38:40, 0:3] = True
    assert np.array_equal(found[0], expected)
    assert np.array_equal(found[1], full)
    (part,) = masks(truth(*parts).objects("component", window=(5, 25, 10, 10)))
    assert np.array_equal(part, full[5:15, 25:35])


def test_what_encloses_nothing_is_dropped_and_said_once(caplog) -> None:
    shapes_module._say_once.cache_clear()
    parts = [shape(np.array([[1.0, 1], [5, 5]])), shape(box(60, 0, 70, 9)), shape(box(0, 0, 3, 3)),
             shape(box(-9, -9, 0, 0))]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            known = truth(*parts, where=Path("some/file.json"))
    assert known.dropped == {TOO_FEW_POINTS: 1, OUTSIDE: 2}
    assert len(known.objects("component").object_class) == 1
    assert sorted(record.message for record in caplog.records) == [
        f"file.json: {TOO_FEW_POINTS}, left out: 1",
        f"file.json: {OUTSIDE}, left out: 2",
    ]


def test_outlines_beyond_the_image_are_clipped() -> None:
    (mask,) = masks(truth(shape(box(45, 35, 1e6, 1e6))).objects("component"))
    assert mask[35:, 45:].all()
    assert int(mask.sum()) == 25
    triangle = np.array([[-1e6, 20], [1e6, 20.0], [1e6, 1e6]])
    (mask,) = masks(truth(shape(triangle)).objects("component"))
    assert not mask[:20].any()
    assert mask[20:, 25:].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_corners_that_are_no_numbers(value) -> None:
    with pytest.raises(DatasetError, match="no number") as error:
        truth(shape(np.array([[0, 0], [value, 3], [5, 5.0]])), where=Path("a.json"))
    assert "a.json" in str(error.value)
    assert "fix: export" in str(error.value)


def test_run_lengths_of_another_size() -> None:
    rle = {"size": [40, 51], "counts": b"x"}
    with pytest.raises(DatasetError, match=r"not of the image's size\n.*\[40, 51\]"):
        truth(Shape(class_name="cell", rle=rle))


@pytest.mark.parametrize(
    "counts", [b"", b"P", b"PPYo1", "zz\x7f", b"0" * 40, 7, b"99999999999", [3, 4, 5], [-1, 2001]]
)
def test_damaged_run_lengths(counts) -> None:
    known = truth(Shape(class_name="cell", rle={"size": [40, 50], "counts": counts}))
    with pytest.raises(DatasetError, match="run lengths of a mask are damaged"):
        known.objects("component")


def test_an_outline_longer_than_any_real_one() -> None:
    rng = np.random.default_rng(0)
    known = ShapeTruth([shape(rng.uniform(0, 30_000, (1_000, 2)))], (30_000, 30_000), {"cell": 0})
    with pytest.raises(DatasetError, match="too long") as error:
        known.objects("component", window=(0, 0, 500, 500))
    assert "1000 points" in str(error.value)


def test_too_many_layers(monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(40 * 50 * 4 * 3))
    stack = [shape(box(0, 0, 50, 40)) for _ in range(5)]
    with pytest.raises(DatasetError, match="more memory than allowed"):
        truth(*stack).objects("component")


def test_images_of_more_than_two_gigapixels() -> None:
    ring = box(99_000.5, 99_000, 99_020, 99_030.25)
    with pytest.raises(DatasetError, match="more memory than allowed"):
        ShapeTruth([shape(ring)], (100_000, 100_000), {"cell": 0}).objects("component")
    known = ShapeTruth([shape(ring)], (100_000, 100_000), {"cell": 0})
    (mask,) = masks(known.objects("component", window=(98_990, 98_990, 64, 64)))
    expected = by_pycocotools(ring - 98_990, (64, 64))
    assert np.array_equal(mask, expected)
    (mask,) = masks(known.objects("component", window=(99_010, 99_010, 64, 64)))
    assert np.array_equal(mask[:44, :44], expected[20:, 20:])


def test_travels_to_workers() -> None:
    known = truth(shape(box(0, 0, 4, 4)), shape(box(1, 1, 3, 3), unknown=True))
    again = pickle.loads(pickle.dumps(known))
    assert np.array_equal(again.objects("class").layers, known.objects("class").layers)
    assert again.size == SIZE
    assert again.nbytes == known.nbytes == 2 * 4 * 2 * 8
