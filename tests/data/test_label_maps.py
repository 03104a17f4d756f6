"""Counting and renumbering in blocks gives what numpy gives at once; resizing stays what it was."""

from __future__ import annotations

import tracemalloc

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as F

from samft.data import label_maps
from samft.data.geometry import frame_for, resize_image, resize_layers
from samft.data.label_maps import as_tensor, count_values, renumber, values_of
from samft.data.objects import drop_small, from_label_map, make_sample, stack_objects
from samft.data.records import Record
from samft.types import IGNORE

MAPS = hnp.arrays(
    st.sampled_from([np.int32, np.uint8, np.uint16, np.int64]),
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=9),
    elements=st.integers(0, 40),
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(label_maps, "_BLOCK", 7)


@settings(deadline=None, max_examples=60)
@given(MAPS, st.sets(st.integers(1, 40)), st.integers(-3, 0))
def test_as_at_once(label_map, chosen, negative) -> None:
    signed = label_map.astype(np.int32)
    signed[signed == 13] = -1
    assert values_of(label_map) == np.unique(label_map).tolist()
    assert values_of(signed) == np.unique(signed).tolist()
    expected = np.bincount(signed.clip(0).reshape(-1), minlength=51)
    assert count_values(signed, 50).tolist() == expected.tolist()
    values = np.array(sorted(chosen), np.int64)
    numbers = {value: number for number, value in enumerate(sorted(chosen), start=1)}
    found = renumber(signed, values, negative=negative)
    lookup = np.vectorize(lambda v: negative if v < 0 else numbers.get(v, 0), otypes=[np.int32])
    assert np.array_equal(found, lookup(signed))
    assert found.dtype == np.int32
    assert np.array_equal(renumber(signed.T, values), lookup(signed.T.clip(0)))


def test_values_too_large_for_a_table() -> None:
    label_map = np.array([[0, 2**30, 5], [2**31 - 1, -4, 5]], np.int32)
    assert values_of(label_map) == [-4, 0, 5, 2**30, 2**31 - 1]
    found = renumber(label_map, np.array([5, 2**30, 2**31 - 1]), negative=IGNORE)
    assert found.tolist() == [[0, 2, 1], [3, -1, 1]]
    objects = from_label_map(label_map)
    assert objects.layers[0].tolist() == found.tolist()


def test_memory_stays_that_of_the_result(monkeypatch) -> None:
    monkeypatch.undo()
    label_map = np.random.default_rng(0).integers(0, 100, (1000, 2000), dtype=np.int32)
    tracemalloc.start()
    renumber(label_map, np.arange(1, 90))
    count_values(label_map, 99)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.8 * label_map.nbytes  # the result; int64 indices would be twice that again


def test_memory_is_shared_where_it_can_be() -> None:
    pixels = np.zeros((5, 6, 3), np.uint8)
    image = as_tensor(np.moveaxis(pixels, -1, 0))
    pixels[2, 3, 1] = 9
    assert image[1, 2, 3] == 9
    flipped = np.arange(6)[::-1]
    assert as_tensor(flipped).tolist() == [5, 4, 3, 2, 1, 0]
    pixels.flags.writeable = False
    copied = as_tensor(np.moveaxis(pixels, -1, 0))
    assert copied.stride() == (1, 18, 3)  # still as it was decoded
    copied[0, 0, 0] = 1
    assert pixels[0, 0, 0] == 0


def test_one_part_is_not_copied() -> None:
    objects = from_label_map(np.array([[0, 3]], np.int32))
    assert stack_objects([objects]) is objects


@settings(deadline=None, max_examples=25)
@given(MAPS, st.integers(1, 4))
def test_small_objects_go(label_map, min_area) -> None:
    objects = from_label_map(label_map.reshape(1, -1).astype(np.int32), ignore_value=3)
    image = np.zeros((3, *objects.layers.shape[1:]), np.uint8)
    record = Record(sample_id="a", case_id="a", images=("a",), labels=("a",))
    sample = make_sample(record, image, objects)
    found, dropped = drop_small(sample, min_area)
    masks = [mask for mask in sample.masks() if mask.sum() >= min_area]
    assert dropped == sample.num_objects - len(masks)
    assert found.num_objects == len(masks)
    assert all(torch.equal(a, b) for a, b in zip(found.masks(), masks, strict=True))
    assert torch.equal(found.layers == IGNORE, sample.layers == IGNORE)


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    layers=st.integers(1, 3),
)
def test_layers_are_resized_as_by_one_lookup(size, target, layers) -> None:
    values = torch.randint(-1, 99, (layers, *size), dtype=torch.int32)
    rows, columns = (
        ((torch.arange(t, dtype=torch.float64) + 0.5) * (s / t)).long().clamp(max=s - 1)
        for s, t in zip(size, target, strict=True)
    )
    found = resize_layers(values, target)
    assert torch.equal(found, values[:, rows[:, None], columns[None]])
    assert found.dtype == torch.int32


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [(90, 60), (31, 17)])
def test_images_are_resized_to_the_same_bits_however_they_lie(channels, dtype, size) -> None:
    planar = (torch.rand(channels, *size) * 255).to(dtype)
    frame = frame_for(size, 48)
    expected = F.interpolate(
        planar[None], frame.input_size, mode="bilinear", align_corners=False, antialias=True
    )[0]
    for image in (planar, planar.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        assert torch.equal(resize_image(image, frame), expected)
