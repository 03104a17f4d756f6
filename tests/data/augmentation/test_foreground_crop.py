"""Windows around objects: where they lie, how large they are, and whose turn it is."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from samft.data.augmentation.foreground_crop import ForegroundCrop
from samft.types import Sample


def sample(*boxes: tuple[int, int, int, int], classes: tuple[int, ...] = ()) -> Sample:
    """An image of 300 x 400 whose pixels tell their place, with boxes (top, left, side, side)."""
    layers = torch.zeros(1, 300, 400, dtype=torch.int32)
    for number, (top, left, high, wide) in enumerate(boxes, start=1):
        layers[:, top : top + high, left : left + wide] = number
    y, x = torch.meshgrid(torch.arange(300), torch.arange(400), indexing="ij")
    return Sample(
        image=torch.stack([y % 256, x % 256, y // 256 * 2 + x // 256]).to(torch.uint8),
        layers=layers,
        object_layer=torch.zeros(len(boxes), dtype=torch.int64),
        object_class=torch.tensor(classes or [0] * len(boxes), dtype=torch.int64),
        sample_id="a",
        case_id="a",
    )


def place(crop: Sample) -> tuple[int, int]:
    """Return the row and column of the top left pixel in the original."""
    row, column, more = (int(channel[0, 0]) for channel in crop.image)
    return row + 256 * (more // 2), column + 256 * (more % 2)


def test_windows_are_cut_from_the_image_as_it_is() -> None:
    given = sample((100, 200, 10, 10))
    for seed in range(20):
        result = ForegroundCrop(64)(given, seed)
        top, left = place(result)
        height, width = result.size
        assert torch.equal(result.image, given.image[:, top : top + height, left : left + width])
        assert torch.equal(result.layers, given.layers[:, top : top + height, left : left + width])


def test_all_of_an_object_at_a_size_to_learn_it() -> None:
    given = sample((100, 200, 20, 10))
    places, sides = set(), []
    for seed in range(60):
        result = ForegroundCrop(64, share=1.0)(given, seed)
        assert int((result.layers == 1).sum()) == 200
        assert result.size[0] == result.size[1]
        sides.append(result.size[0])
        rows = (result.layers[0] == 1).any(dim=1).nonzero()[:, 0]
        places.add(round(float(rows[0]) / (result.size[0] - 20), 1))
    assert min(sides) >= 40  # twice the object
    assert max(sides) <= 160  # eight times
    assert max(sides) > 2 * min(sides)
    assert {0.0, 0.5, 1.0} <= places  # not always in the middle


@pytest.mark.parametrize("box", [(0, 0, 6, 6), (294, 394, 6, 6), (0, 390, 6, 6)])
def test_windows_stay_in_the_image(box: tuple[int, int, int, int]) -> None:
    given = sample(box)
    for seed in range(20):
        result = ForegroundCrop(64, share=1.0)(given, seed)
        assert int((result.layers == 1).sum()) == 36
        assert result.size[0] == result.size[1] <= 48


def test_no_closer_than_there_is_detail() -> None:
    given = sample((100, 200, 2, 2))
    sizes = {ForegroundCrop(512, share=1.0)(given, seed).size for seed in range(10)}
    assert sizes == {(128, 128)}
    assert ForegroundCrop(4096)(given, 0).size == (300, 400)  # the image as a whole


def test_a_window_of_a_given_side() -> None:
    given = sample((100, 200, 10, 10), (20, 20, 250, 200))
    for seed in range(40):
        result = ForegroundCrop(1024, by="side", window=64, share=1.0)(given, seed)
        assert result.size == (64, 64)
        assert (result.layers > 0).any()
    wide = ForegroundCrop(1024, by="side", window=350, share=1.0)(given, 0)
    assert wide.size == (300, 350)


def test_classes_take_turns_whatever_their_number_of_objects() -> None:
    many = [(10 * k, 0, 6, 6) for k in range(28)]
    given = sample(*many, (100, 300, 6, 6), classes=(0,) * 28 + (5,))
    seen: Counter[bool] = Counter()
    for seed in range(200):
        result = ForegroundCrop(24, factor=1.0, share=1.0)(given, seed)
        seen[bool((result.layers == 29).any())] += 1
    assert 70 < seen[True] < 130


def test_other_windows_lie_anywhere_and_are_large() -> None:
    given = sample((20, 30, 4, 4))
    without = around = 0
    for seed in range(200):
        result = ForegroundCrop(32, share=0.0)(given, seed)
        assert 200 <= result.size[1] <= 400
        without += not bool((result.layers == 1).any())
        mixed = ForegroundCrop(32)(given, seed)
        around += mixed.size[0] < 200
    assert without > 20
    assert 130 < around < 170


def test_objects_without_pixels_are_passed_over() -> None:
    given = sample((0, 0, 0, 0), (0, 0, 0, 0), (250, 350, 8, 8))
    found = sum(
        bool((ForegroundCrop(40, share=1.0)(given, seed).layers == 3).any()) for seed in range(50)
    )
    assert found > 45
    gone = sample((0, 0, 0, 0))
    assert ForegroundCrop(40, share=1.0)(gone, 0).num_objects == 1
    assert ForegroundCrop(40, share=1.0)(sample(), 0).num_objects == 0
