"""Points, boxes and masks through the resize and back, at any size."""

import math

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import assume, example, given, settings
from PIL import Image

from samft.data.geometry import (
    boxes_to_input,
    boxes_to_original,
    frame_for,
    logits_to_original,
    pad,
    points_to_input,
    points_to_original,
    resize_image,
    resize_layers,
)

sides = st.one_of(st.integers(1, 6), st.integers(1, 300))
sizes = st.tuples(sides, sides)
targets = st.sampled_from([16, 31, 64, 100, 256, 1024])
quick = settings(deadline=None, max_examples=50)


@quick
@given(size=sizes, target=targets)
def test_frame_keeps_the_shape_and_fills_one_side(size, target) -> None:
    frame = frame_for(size, target)
    assert frame.original_size == size
    assert max(frame.input_size) == target
    assert min(frame.input_size) >= 1
    scale = target / max(size)
    for side, new in zip(size, frame.input_size, strict=True):
        assert abs(new - side * scale) <= 0.5 or new == 1


@quick
@given(size=sizes)
def test_a_square_of_the_right_size_stays_as_it_is(size) -> None:
    target = max(size)
    frame = frame_for(size, target)
    assert frame.input_size == size
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    assert resize_image(image, frame) is image
    assert torch.equal(resize_layers(image, size), image)


@quick
@given(size=sizes, target=targets, data=st.data())
def test_points_and_boxes_there_and_back(size, target, data) -> None:
    frame = frame_for(size, target)
    x = data.draw(st.floats(0, size[1], width=32))
    y = data.draw(st.floats(0, size[0], width=32))
    points = torch.tensor([[[x, y], [0.0, 0.0]]], dtype=torch.float64)
    there = points_to_input(points, frame)
    assert (there <= torch.tensor(frame.input_size[::-1], dtype=torch.float64) + 1e-6).all()
    assert torch.allclose(points_to_original(there, frame), points, atol=1e-9)
    whole = points.long()  # pixels of label images: no less exact
    exact = points_to_input(whole.double(), frame).float()
    assert torch.allclose(points_to_input(whole, frame), exact, atol=1e-3)
    boxes = torch.tensor([[0, 0, x, y]], dtype=torch.float64)
    moved = boxes_to_input(boxes, frame)
    assert torch.equal(moved[0, 2:], there[0, 0])
    assert torch.allclose(boxes_to_original(moved, frame), boxes, atol=1e-9)


@quick
@given(size=sizes, target=targets)
def test_corners_of_the_image_are_corners_of_the_input(size, target) -> None:
    frame = frame_for(size, target)
    corner = torch.tensor([size[1], size[0]], dtype=torch.float64)
    expected = torch.tensor([frame.input_size[1], frame.input_size[0]], dtype=torch.float64)
    assert torch.allclose(points_to_input(corner, frame), expected)


@quick
@given(size=sizes, target=st.sampled_from([16, 33, 64]), data=st.data())
def test_a_pixel_of_the_input_holds_the_value_its_centre_has_in_the_original(
    size, target, data
) -> None:
    frame = frame_for(size, target)
    labels = torch.arange(size[0] * size[1]).reshape(1, *size)
    small = resize_layers(labels, frame.input_size)
    row = data.draw(st.integers(0, frame.input_size[0] - 1))
    column = data.draw(st.integers(0, frame.input_size[1] - 1))
    y = math.floor((row + 0.5) * size[0] / frame.input_size[0])
    x = math.floor((column + 0.5) * size[1] / frame.input_size[1])
    assert small[0, row, column] == labels[0, y, x]


@quick
@given(size=sizes, target=st.sampled_from([16, 64, 128]), layers=st.integers(1, 3))
def test_labels_are_never_mixed(size, target, layers) -> None:
    labels = torch.randint(-1, 5, (layers, *size), dtype=torch.int32)
    small = resize_layers(labels, frame_for(size, target).input_size)
    assert small.dtype == torch.int32
    for before, after in zip(labels, small, strict=True):
        assert set(after.unique().tolist()) <= set(before.unique().tolist())


@quick
@given(size=sizes, factor=st.integers(1, 5))
def test_enlarging_labels_and_shrinking_them_again_is_exact(size, factor) -> None:
    labels = torch.randint(0, 9, (1, *size), dtype=torch.int32)
    target = max(size) * factor
    frame = frame_for(size, target)
    large = resize_layers(labels, frame.input_size)
    assert torch.equal(resize_layers(large, size), labels)


@quick
@given(size=sizes, target=st.sampled_from([16, 64, 200]))
@example(size=(250, 125), target=200)  # where both roundings of both add up to 2
def test_picture_agrees_with_pillow_but_for_rounding(size, target) -> None:
    frame = frame_for(size, target)
    generator = torch.Generator().manual_seed(size[0] * 1000 + size[1])
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    ours = resize_image(image, frame)
    height, width = frame.input_size
    assert ours.dtype == torch.uint8
    theirs = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    difference = ours.permute(1, 2, 0).numpy().astype(int) - np.asarray(theirs).astype(int)
    # Both go along rows and columns one after the other and round to whole levels twice.
    assert np.abs(difference).max() <= 2
    assert (np.abs(difference) > 1).mean() < 0.001


@quick
@given(size=sizes, target=st.sampled_from([16, 64]))
def test_padding_is_right_and_bottom_and_zero(size, target) -> None:
    frame = frame_for(size, target)
    image = torch.full((3, *frame.input_size), 7, dtype=torch.uint8)
    padded = pad(image, target)
    height, width = frame.input_size
    assert padded.shape == (3, target, target)
    assert (padded[:, :height, :width] == 7).all()
    assert padded.sum() == 7 * 3 * height * width


@quick
@given(size=sizes, target=st.sampled_from([16, 64]), data=st.data())
def test_logits_come_back_to_where_they_were(size, target, data) -> None:
    frame = frame_for(size, target)
    assume(min(size) >= 2)
    width = frame.input_size[1]
    column = data.draw(st.integers(0, max(0, width - 1)))
    logits = torch.full((1, 1, target // 4, target // 4), -5.0)
    logits[..., : column // 4 + 1] = 5.0
    back = logits_to_original(logits, frame)
    assert back.shape == (1, 1, *size)
    assert torch.isfinite(back).all()
    assert back.abs().max() <= 5.0 + 1e-4
    edge = 4 * (column // 4 + 1) * size[1] / width  # where the two halves meet
    cell = 4 * size[1] / width
    x = torch.arange(size[1]) + 0.5
    assert (back[..., x < edge - cell] > 0).all()
    assert (back[..., x > edge + cell] < 0).all()


@quick
@given(size=sizes, target=st.sampled_from([64, 128]))
def test_constant_logits_stay_constant(size, target) -> None:
    back = logits_to_original(
        torch.full((2, 3, target // 4, target // 4), 1.5), frame_for(size, target)
    )
    assert back.shape == (2, 3, *size)
    assert torch.allclose(back, torch.tensor(1.5))


@quick
@given(size=st.tuples(st.integers(8, 200), st.integers(8, 200)), data=st.data())
def test_a_point_in_the_middle_of_an_object_stays_on_it(size, data) -> None:
    frame = frame_for(size, 64)
    top = data.draw(st.integers(0, size[0] - 8))
    left = data.draw(st.integers(0, size[1] - 8))
    labels = torch.zeros(1, *size, dtype=torch.int32)
    labels[:, top : top + 8, left : left + 8] = 1
    small = resize_layers(labels, frame.input_size)
    moved = points_to_input(torch.tensor([left + 3.5, top + 3.5]), frame)
    column, row = (min(int(v + 0.5), s - 1) for v, s in zip(moved, small.shape[:0:-1], strict=True))
    around = small[0, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    assert (around == 1).any()
