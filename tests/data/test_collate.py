"""Ragged images become one batch; training drops what has no pixel, evaluation drops nothing."""

import pytest
import torch

from samft.data.collate import collate
from samft.data.geometry import resize_image
from samft.data.tally import Tally
from samft.types import Sample


def sample(height: int, width: int, boxes: list[tuple[int, int, int, int]], **more) -> Sample:
    layers = torch.zeros(more.pop("layers", 1), height, width, dtype=torch.int32)
    for value, (top, left, bottom, right) in enumerate(boxes, 1):
        layers[0, top:bottom, left:right] = value
    torch.manual_seed(height)
    image = torch.randint(0, 256, (3, height, width)).to(more.pop("dtype", torch.uint8))
    return Sample(
        image=image,
        layers=layers,
        object_layer=torch.zeros(len(boxes), dtype=torch.int64),
        object_class=torch.arange(len(boxes)) % 3,
        sample_id=f"{height}x{width}",
        case_id="c",
        **more,
    )


BIG = sample(64, 128, [(0, 0, 32, 32), (40, 100, 64, 128)])
EMPTY = sample(50, 20, [])
TINY = sample(400, 400, [(7, 7, 8, 8), (100, 100, 300, 300), (203, 1, 204, 2)])


def test_shapes_and_padding() -> None:
    batch = collate([BIG, EMPTY], image_size=32)
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert batch.layers.shape == (2, 1, 32, 32)
    assert batch.layers.dtype == batch.object_value.dtype == torch.int32
    assert [frame.input_size for frame in batch.frames] == [(16, 32), (32, 13)]
    assert not batch.images[0, :, 16:].any()
    assert not batch.layers[0, :, 16:].any()
    assert not batch.images[1, :, :, 13:].any()
    assert torch.equal(batch.images[0, :, :16], resize_image(BIG.image, batch.frames[0]))
    assert batch.sample_ids == ("64x128", "50x20")
    assert batch.samples is None


def test_objects_lie_on_one_axis() -> None:
    batch = collate([BIG, EMPTY, BIG], image_size=32)
    assert batch.image_index.tolist() == [0, 0, 2, 2]
    assert batch.object_value.tolist() == [1, 2, 1, 2]
    assert batch.object_class.tolist() == [0, 1, 0, 1]
    masks = batch.masks()
    assert masks[0, :8, :8].all()
    assert masks[0].sum() == 64
    assert masks[1].sum() == 6 * 7


def test_training_drops_vanished_objects_and_counts_them() -> None:
    tally = Tally("train", min_area=1)
    batch = collate([TINY, BIG], image_size=32, tally=tally)
    assert batch.image_index.tolist() == [0, 1, 1]
    assert batch.object_value.tolist() == [2, 1, 2]
    assert batch.object_class.tolist() == [1, 0, 1]
    assert batch.masks().flatten(1).any(dim=1).all()
    assert tally.vanished == 2


def test_evaluation_keeps_every_object_in_order() -> None:
    tally = Tally("val", min_area=1)
    batch = collate([TINY, BIG], image_size=32, keep_samples=True, tally=tally)
    assert batch.object_value.tolist() == [1, 2, 3, 1, 2]
    assert batch.samples == (TINY, BIG)
    assert tally.vanished == 0


@pytest.mark.parametrize("keep", [True, False])
def test_only_empty_images(keep: bool) -> None:
    batch = collate([EMPTY, EMPTY], image_size=16, keep_samples=keep)
    assert batch.num_objects == 0
    assert batch.masks().shape == (0, 16, 16)
    assert batch.image_index.dtype == torch.int64
    assert len(batch.frames) == 2


def test_different_numbers_of_layers() -> None:
    second = sample(30, 30, [(0, 0, 9, 9)], layers=3)
    moved = second.layers.clone()
    moved[2], moved[0] = second.layers[0], 0
    second = second.replace(layers=moved, object_layer=torch.tensor([2]))
    batch = collate([BIG, second], image_size=30)
    assert batch.layers.shape == (2, 3, 30, 30)
    assert not batch.layers[0, 1:].any()
    assert batch.object_layer.tolist() == [0, 0, 2]
    assert batch.masks()[2].sum() == 81


def test_one_float_image_makes_the_batch_float() -> None:
    batch = collate([BIG, sample(30, 30, [], dtype=torch.float32)], image_size=16)
    assert batch.images.dtype == torch.float32
    assert batch.images.max() <= 255


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    alone = collate([BIG], image_size=48)
    together = collate([TINY, BIG], image_size=48)
    assert torch.equal(alone.images[0], together.images[1])
    assert torch.equal(alone.layers[0], together.layers[1])


def test_strips_of_one_pixel() -> None:
    batch = collate([sample(1, 500, [(0, 0, 1, 250)])], image_size=16)
    assert batch.frames[0].input_size == (1, 16)
    assert batch.masks().sum() == 8
