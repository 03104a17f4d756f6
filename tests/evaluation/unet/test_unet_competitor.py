"""The U-Net's answers to prompts."""

import numpy as np
import pytest
import torch
from evaluation.unet.painted_unet import batch_of, painted_module, sample_of

from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.unet.competitor import UNetCompetitor
from samft.types import NO_CLASS

SETTINGS = EvaluationSettings()
SIZE = (64, 64)


def _block(*places, size=SIZE):
    mask = np.zeros(size, bool)
    for rows, columns in places:
        mask[slice(*rows), slice(*columns)] = True
    return mask


def _labels(*masks):
    labels = np.zeros(masks[0].shape, np.int32)
    for value, mask in enumerate(masks, start=1):
        labels[mask] = value
    return labels


def _answers(competitor, batch, settings=SETTINGS):
    found = {}
    for answer in competitor.answers(batch, settings):
        assert answer.masks.dtype == torch.bool
        assert len(answer.rows) == len(answer.masks) == len(answer.marks)
        for row, mask, mark in zip(answer.rows.tolist(), answer.masks, answer.marks, strict=True):
            found[answer.prompt, row] = mask.numpy(), mark
    return found


@pytest.fixture
def touching():
    """Two cells that touch, found as one piece with a border; one that was missed; a spot."""
    left, right = _block(((10, 30), (10, 20))), _block(((10, 30), (20, 40)))
    missed, spot = _block(((40, 50), (40, 50))), _block(((45, 60), (5, 20)))
    border = _block(((8, 32), (19, 21)))
    sample = sample_of(
        [left | right, spot, border], _labels(left, right, missed, spot), [0, 0, 0, 1]
    )
    return UNetCompetitor(painted_module("cell", "spot")), batch_of(sample), (left, right, spot)


def test_every_object_gets_an_answer_to_each_prompt(touching) -> None:
    competitor, batch, _ = touching
    found = _answers(competitor, batch)
    names = ("box", "loose_box", "point1")
    assert set(found) == {(name, row) for name in names for row in range(4)}
    assert found["box", 0][1] == {"box": [10.0, 10.0, 19.0, 29.0]}
    assert found["point1", 3][1]["labels"] == [1]
    assert competitor.net.calls == 1  # segmented once, whatever is asked
    only = EvaluationSettings(prompts=("point",))
    assert {name for name, _ in _answers(competitor, batch, only)} == {"point1"}


def test_touching_objects_are_answered_apart(touching) -> None:
    competitor, batch, (left, right, spot) = touching
    found = _answers(competitor, batch)
    for row, mask in ((0, left), (1, right), (3, spot)):
        for name in ("box", "loose_box", "point1"):
            assert (found[name, row][0] == mask).all(), (name, row)


def test_borders_that_are_not_good_enough_cut_nothing(touching) -> None:
    competitor, batch, (left, right, _) = touching
    competitor.split = False
    found = _answers(competitor, batch)
    assert (found["point1", 0][0] == (left | right)).all()


def test_on_background_a_point_gets_nothing_and_a_box_what_is_in_it(touching) -> None:
    competitor, batch, _ = touching
    found = _answers(competitor, batch)
    assert not found["point1", 2][0].any()
    assert not found["box", 2][0].any()


def test_a_box_in_a_larger_piece_gets_the_piece_cut_to_the_box() -> None:
    piece, asked = _block(((0, 64), (0, 40))), _block(((20, 30), (20, 50)))
    sample = sample_of([piece, piece & False], _labels(asked), [0])
    found = _answers(UNetCompetitor(painted_module("cell")), batch_of(sample))
    assert (found["box", 0][0] == (piece & asked)).all()


def test_a_box_around_several_pieces_gets_all_of_them() -> None:
    first, second = _block(((10, 20), (10, 20))), _block(((10, 20), (30, 40)))
    sample = sample_of([first | second, first & False], _labels(first | second), [0])
    found = _answers(UNetCompetitor(painted_module("organ")), batch_of(sample))
    assert (found["box", 0][0] == (first | second)).all()
    assert found["point1", 0][0].sum() == first.sum()


def test_an_object_without_class_is_looked_for_in_all_classes(touching) -> None:
    competitor, batch, (left, _, spot) = touching
    unknown = torch.full_like(batch.object_class, NO_CLASS)
    changed = batch.select(torch.arange(4))
    object.__setattr__(changed, "object_class", unknown)
    found = _answers(competitor, changed)
    assert (found["point1", 0][0] == left).all()
    assert (found["point1", 3][0] == spot).all()


def test_large_images_are_answered_at_their_own_size() -> None:
    mask = _block(((41, 83), (100, 171)), size=(100, 256))
    sample = sample_of([mask, mask & False], _labels(mask), [0])
    found = _answers(UNetCompetitor(painted_module("cell")), batch_of(sample))
    for name in ("box", "loose_box", "point1"):
        answer = found[name, 0][0]
        assert answer.shape == (100, 256)
        assert (answer & mask).sum() / (answer | mask).sum() > 0.9


def test_the_answer_does_not_depend_on_batch_or_its_size(touching) -> None:
    competitor, batch, _ = touching
    alone = _answers(competitor, batch)
    sample = batch.samples[0]
    wide = sample_of([_block(((0, 9), (0, 90)), size=(20, 100))] * 3, _block(
        ((0, 9), (0, 90)), size=(20, 100)).astype(np.int32), [0], "b")  # fmt: skip
    together = batch_of(wide, sample)
    beside = _answers(competitor, together)
    for (name, row), (mask, _) in alone.items():
        assert (beside[name, row + 1][0] == mask).all()


def test_an_object_without_a_pixel_at_the_input_size_gets_an_empty_answer() -> None:
    labels = np.zeros((256, 256), np.int32)
    labels[1, 1] = 1
    sample = sample_of([np.ones((256, 256), bool)] * 2, labels, [0])
    found = _answers(UNetCompetitor(painted_module("cell")), batch_of(sample))
    assert len(found) == 3
    assert not any(mask.any() for mask, _ in found.values())


def test_instances_come_apart_surest_first(touching) -> None:
    competitor, batch, (left, right, spot) = touching
    dim = batch.samples[0].image.clone()
    dim[1] = dim[1] // 255 * 160  # found, but less sure
    batch = batch_of(batch.samples[0].replace(image=dim))
    masks = competitor.instances(batch, 0)
    assert masks.shape == (3, *SIZE)
    assert (masks[2].numpy() == spot).all()
    assert {mask.numpy().tobytes() for mask in masks} == {m.tobytes() for m in (left, right, spot)}


def test_class_masks_need_no_prompt(touching) -> None:
    competitor, batch, (left, right, spot) = touching
    masks = competitor.class_masks(batch, 0)
    assert (masks.numpy() == np.stack([left | right, spot])).all()


def test_an_image_in_which_nothing_is_found() -> None:
    nothing = np.zeros(SIZE, bool)
    sample = sample_of([nothing, nothing], nothing.astype(np.int32), [])
    competitor, batch = UNetCompetitor(painted_module("cell")), batch_of(sample)
    assert competitor.instances(batch, 0).shape == (0, *SIZE)
    assert not competitor.class_masks(batch, 0).any()
    assert _answers(competitor, batch) == {}
