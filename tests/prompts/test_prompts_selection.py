"""Which objects a step trains on."""

import torch

from samft.prompts.selection import object_areas, select_objects
from samft.types import Frame, SamBatch


def batch(areas: list[list[int]], side: int = 16) -> SamBatch:
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
        object_class=torch.zeros(len(index), dtype=torch.int64),
        frames=(frame,) * len(areas),
        sample_ids=tuple(str(i) for i in range(len(areas))),
    )


def choose(b: SamBatch, seed: int = 0, most: int = 64) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return select_objects(
        b, max_per_image=most, max_area_fraction=0.9, generator=generator
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
