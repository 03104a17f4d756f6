"""Images cut into windows: every pixel and every object once, in the right place."""

import pytest
import torch

from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.data.windows import cut_windows
from samft.types import SamBatch, Sample


def one_square(size: int = 64, top: int = 20, left: int = 40, side: int = 20) -> Sample:
    layers = torch.zeros(1, size, size, dtype=torch.int32)
    layers[0, top : top + side, left : left + side] = 1
    image = torch.arange(3 * size * size).reshape(3, size, size).remainder(251).to(torch.uint8)
    zero = torch.zeros(1, dtype=torch.int64)
    return Sample(
        image=image,
        layers=layers,
        object_layer=zero,
        object_class=zero,
        sample_id="a",
        case_id="a",
    )


def batch(*samples: Sample, size: int = 64) -> SamBatch:
    return collate(list(samples), image_size=size)


def test_windows_lie_row_by_row() -> None:
    whole = batch(one_square())
    cut = cut_windows(whole, 2)
    assert cut.images.shape == (4, 3, 32, 32)
    assert torch.equal(cut.images[1], whole.images[0, :, :32, 32:])
    assert torch.equal(cut.images[2], whole.images[0, :, 32:, :32])
    assert cut.sample_ids == ("a",) * 4


def test_an_object_is_in_every_window_that_holds_some_of_it() -> None:
    # Rows 20..39 and columns 40..59: 12 x 20 pixels in the upper right window, 8 x 20 below it.
    cut = cut_windows(batch(one_square()), 2)
    assert cut.image_index.tolist() == [1, 3]
    assert cut.masks().sum(dim=(1, 2)).tolist() == [240, 160]
    assert cut.masks()[0, 20:32, 8:28].all()


def test_slivers_are_left_out() -> None:
    # One row of 11 pixels reaches into the lower window.
    cut = cut_windows(batch(one_square(top=22, left=0, side=11)), 2)
    assert cut.image_index.tolist() == [0]
    cut = cut_windows(batch(one_square(top=20, left=0, side=13)), 2)
    assert cut.image_index.tolist() == [0, 2]


@pytest.mark.parametrize("look", ["tissue", "mr", "fluorescence"])
def test_all_pixels_of_all_layers_are_kept(look: str) -> None:
    whole = batch(generate(3, look=look), generate(4, look=look), size=256)
    cut = cut_windows(whole, 2)
    assert (cut.image_index.diff() >= 0).all()
    index = torch.arange(2).repeat_interleave(4)
    pairs = set(
        zip(
            index[cut.image_index].tolist(),
            cut.object_layer.tolist(),
            cut.object_value.tolist(),
            strict=True,
        )
    )
    kept = {
        (image, layer, value)
        for image, layer, value, mask in zip(
            whole.image_index.tolist(),
            whole.object_layer.tolist(),
            whole.object_value.tolist(),
            whole.masks(),
            strict=True,
        )
        if max(part.sum() for half in mask.chunk(2) for part in half.chunk(2, dim=1)) >= 12
    }
    assert pairs == kept
    assert int(cut.masks().sum()) <= int(whole.masks().sum())


def test_padding_is_not_image() -> None:
    sample = one_square()
    wide = sample.replace(image=sample.image[:, :30], layers=sample.layers[:, :30])
    cut = cut_windows(batch(wide), 2)
    assert cut.input_sizes.tolist() == [[30, 32], [30, 32], [0, 32], [0, 32]]


def test_no_objects() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    sample = one_square().replace(
        layers=torch.zeros(1, 64, 64, dtype=torch.int32), object_layer=empty, object_class=empty
    )
    assert cut_windows(batch(sample), 2).num_objects == 0
