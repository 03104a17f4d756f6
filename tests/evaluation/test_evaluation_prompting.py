"""The prompts of an evaluation are functions of the object."""

import pytest
import torch
from evaluated_scene import batch_of, scene

from samft.evaluation.prompting import prompts_of


def test_tight_boxes_and_centres() -> None:
    batch = batch_of(scene(size=(64, 64)))
    boxes = prompts_of("box", batch).boxes
    assert boxes.tolist() == [[5, 5, 14, 14], [30, 10, 49, 29]]
    points = prompts_of("point", batch)
    assert points.labels.tolist() == [[1], [1]]
    inside = batch.masks()
    for row, (x, y) in enumerate(points.points[:, 0].long().tolist()):
        assert inside[row, y, x]
        assert abs(x - boxes[row, [0, 2]].mean()) <= 1


def test_loose_boxes_are_a_tenth_larger_on_each_side() -> None:
    batch = batch_of(scene(size=(64, 64)))
    assert prompts_of("loose_box", batch).boxes.tolist() == [[4, 4, 15, 15], [28, 8, 51, 31]]


def test_loose_boxes_end_with_the_image_not_with_the_padding() -> None:
    # 40 x 60 becomes 43 x 64; the object touches its right and lower border.
    batch = batch_of(scene(boxes=((0, 0, 9, 9), (40, 20, 59, 39))))
    loose = prompts_of("loose_box", batch).boxes
    assert batch.frames[0].input_size == (43, 64)
    assert loose[0, :2].tolist() == [0, 0]
    assert loose[1, 2:].tolist() == [63, 42]


def test_an_object_that_is_lost_at_the_input_size_gets_no_box() -> None:
    sample = scene(boxes=((5, 5, 40, 40), (101, 101, 101, 101)), size=(256, 256))
    batch = batch_of(sample, image_size=32)
    assert batch.num_objects == 2
    for name in ("box", "loose_box"):
        prompts = prompts_of(name, batch)
        assert prompts.has_box.tolist() == [True, False]
        assert torch.isfinite(prompts.boxes).all()


@pytest.mark.parametrize("name", ["box", "loose_box", "point"])
def test_neither_time_nor_neighbours_matter(name: str) -> None:
    first, second = scene("a"), scene("b", boxes=((1, 1, 20, 30),))
    together = prompts_of(name, batch_of(first, second))
    torch.rand(7)  # a prompt that drew from the global generator would notice
    alone = [prompts_of(name, batch_of(sample)) for sample in (first, second)]
    for field in ("boxes", "points"):
        if getattr(together, field) is not None:
            joined = torch.cat([getattr(each, field) for each in alone])
            assert torch.equal(getattr(together, field), joined)
