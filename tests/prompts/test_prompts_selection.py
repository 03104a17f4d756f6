"""Which objects a step trains on."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.prompts.selection import SelectionCounts, object_areas, select_objects
from samft.types import Frame, SamBatch


def batch(
    areas: list[list[int]], side: int = 16, classes: list[list[int]] | None = None
) -> SamBatch:
    """Objects of the given areas, one list an image, as runs of pixels in one layer."""
    layers = torch.zeros(len(areas), 1, side * side, dtype=torch.int32)
    for image, sizes in enumerate(areas):
        start = 0
        for number, size in enumerate(sizes, start=1):
            layers[image, 0, start : start + size] = number
            start += size
        layers[image, 0, start : start + 2] = -1
    index = [image for image, sizes in enumerate(areas) for _ in sizes]
    values = [number for sizes in areas for number in range(1, len(sizes) + 1)]
    frame = Frame(original_size=(side, side), input_size=(side, side), image_size=side)
    return SamBatch(
        images=torch.zeros(len(areas), 3, side, side),
        layers=layers.reshape(len(areas), 1, side, side),
        image_index=torch.tensor(index, dtype=torch.int64),
        object_layer=torch.zeros(len(index), dtype=torch.int64),
        object_value=torch.tensor(values, dtype=torch.int32),
        object_class=torch.tensor(
            [label for row in classes for label in row] if classes else [0] * len(index),
            dtype=torch.int64,
        ),
        frames=(frame,) * len(areas),
        sample_ids=tuple(str(i) for i in range(len(areas))),
    )


def choose(b: SamBatch, seed: int = 0, most: int = 64, **options: Any) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return select_objects(
        b, max_per_image=most, max_area_fraction=0.9, generator=generator, **options
    ).tolist()


def test_areas_equal_the_masks() -> None:
    b = batch([[3, 0, 9], [], [100, 20]])
    assert object_areas(b).tolist() == [3, 0, 9, 100, 20]
    assert object_areas(b).tolist() == b.masks().flatten(1).sum(1).tolist()
    assert object_areas(batch([[], []])).tolist() == []


def test_empty_and_image_filling_objects_are_left_out() -> None:
    assert choose(batch([[3, 0, 9], [240], [230]])) == [0, 2, 4]


def test_at_most_so_many_of_each_image_and_at_random() -> None:
    b = batch([[2] * 20, [3], [4] * 10])
    chosen = [choose(b, seed, most=5) for seed in range(30)]
    for rows in chosen:
        assert rows == sorted(rows)
        counts = torch.bincount(b.image_index[rows], minlength=3).tolist()
        assert counts == [5, 1, 5]
    assert chosen[0] == choose(b, 0, most=5)
    assert len({row for rows in chosen for row in rows}) == 31


def test_nothing_to_choose_from() -> None:
    assert choose(batch([[], []])) == []


@pytest.mark.parametrize(
    ("most", "seed", "rows"),
    [
        (1, 0, [2, 10, 12]),
        (1, 1, [4, 9, 21]),
        (3, 0, [2, 3, 4, 9, 10, 11, 12, 13, 18]),
        (3, 1, [2, 4, 6, 9, 10, 11, 13, 20, 21]),
        (64, 0, [0, 2, 3, 4, 5, 6, 7, *range(9, 22)]),
    ],
)
def test_random_choice_is_the_one_from_before_balancing(
    most: int, seed: int, rows: list[int]
) -> None:
    b = batch([[5, 0, 3, 9, 2, 7, 4, 6], [240], [3, 8, 2], [], [1] * 10])
    assert choose(b, seed, most=most) == rows


def test_classes_take_turns() -> None:
    classes = [[0] * 18 + [1] * 3 + [7], [3] * 10]
    b = batch([[2] * 22, [4] * 10], classes=classes)
    for seed in range(20):
        rows = choose(b, seed, most=8, balance="class")
        chosen = b.object_class[rows].tolist()
        # One of class 7, all three of class 1, the rest of class 0; eight of the other image.
        assert [chosen.count(label) for label in (0, 1, 7, 3)] == [4, 3, 1, 8]
    drawn = {row for seed in range(30) for row in choose(b, seed, most=8, balance="class")}
    assert drawn == set(range(32))


def test_sizes_take_turns() -> None:
    # Sides below 2, below 4 and below 8 pixels; areas of one group count together.
    b = batch([[1, 2, 3] * 5 + [4, 8, 15] + [16, 63]])
    for seed in range(10):
        rows = choose(b, seed, most=6, balance="size")
        areas = object_areas(b)[rows].tolist()
        groups = [sum(low <= area < 4 * low for area in areas) for low in (1, 4, 16)]
        assert groups == [2, 2, 2]
    b = batch([[1, 2] * 5 + [4] * 5])
    assert (object_areas(b)[choose(b, most=6, balance="size")] == 4).sum() == 3


def test_turns_are_those_of_one_image() -> None:
    b = batch([[1] * 12, [1] * 40], classes=[[0, 1] * 6, [1] * 40])
    for seed in range(10):
        rows = choose(b, seed, most=6, balance="class")
        assert b.object_class[[row for row in rows if row < 12]].sum() == 3


def test_objects_without_a_pixel_are_left_out_whatever_the_minimum() -> None:
    assert choose(batch([[3, 0]]), min_area=0) == [0]


def test_balance_changes_nothing_where_all_objects_fit() -> None:
    b = batch([[2, 3, 9, 40], [], [5, 0, 240]], classes=[[0, 1, 1, 1], [], [2, 2, 2]])
    expected = choose(b)
    assert choose(b, balance="class") == choose(b, balance="size") == expected


def test_unusable_objects_of_a_rare_class_take_no_place() -> None:
    b = batch([[2, 2, 2, 2, 0, 0]], classes=[[0, 0, 0, 0, 1, 2]])
    for seed in range(10):
        assert len(choose(b, seed, most=2, balance="class")) == 2


def test_small_objects_are_left_out_and_everything_is_counted() -> None:
    b = batch([[3, 0, 9, 2, 5, 5, 5], [240], [230]])
    counts = SelectionCounts()
    rows = choose(b, most=3, min_area=4, counts=counts)
    assert set(rows) <= {2, 4, 5, 6, 8}
    assert len(rows) == 4
    expected = SelectionCounts(offered=9, empty=1, too_small=2, too_large=1, over_limit=1)
    assert counts == expected
    assert counts.kept == 4
    choose(batch([[], []]), counts=counts)
    assert counts == expected
    choose(b, counts=counts)
    assert counts.offered == 18
    assert str(expected) == (
        "9 objects: 4 kept, 1 empty, 2 too small, 1 too large, 1 over the limit per image"
    )


@settings(deadline=None, max_examples=40)
@given(
    areas=st.lists(st.lists(st.integers(0, 12), max_size=9), min_size=1, max_size=3),
    most=st.integers(1, 6),
    min_area=st.integers(1, 4),
    balance=st.sampled_from(["none", "class", "size"]),
    seed=st.integers(0, 2**31),
)
def test_counts_add_up_and_every_balance_fills_the_limit(
    areas: list[list[int]], most: int, min_area: int, balance: str, seed: int
) -> None:
    classes = [[area % 3 for area in row] for row in areas]
    b = batch(areas, classes=classes)
    counts = SelectionCounts()
    rows = choose(b, seed, most=most, min_area=min_area, balance=balance, counts=counts)
    usable = [sum(area >= min_area for area in row) for row in areas]
    found = torch.bincount(b.image_index[rows], minlength=len(areas)).tolist()
    assert found == [min(count, most) for count in usable]
    assert counts.kept == len(rows)
    assert counts.offered == b.num_objects
    assert counts.empty + counts.too_small == counts.offered - sum(usable)
    assert rows == choose(b, seed, most=most, min_area=min_area, balance=balance)
