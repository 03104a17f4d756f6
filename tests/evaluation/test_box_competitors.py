"""Answers to boxes without a model."""

import numpy as np
import pytest
import torch
from evaluated_scene import batch_of, scene

from samft.evaluation.box_baselines import BASELINES, BoxBaselineCompetitor
from samft.evaluation.settings import EvaluationSettings


@pytest.mark.parametrize("size", [(64, 64), (40, 60), (150, 240)])
def test_the_box_of_a_rectangle_gives_the_rectangle(size: tuple[int, int]) -> None:
    sample = scene(boxes=((8, 8, 23, 31), (32, 12, 47, 27)), size=size)
    batch = batch_of(sample)
    answers = BoxBaselineCompetitor("filled_box").answers(
        batch, EvaluationSettings(prompts=("box",))
    )
    masks = torch.cat([answer.masks for answer in answers])
    scale = max(size) / 64
    for mask, truth in zip(masks, sample.masks(), strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        wanted = [np.flatnonzero(truth.any(axis)) for axis in (1, 0)]
        for found, true in zip((rows, columns), wanted, strict=True):
            # A box is drawn at the input size: it is off by less than one of its pixels.
            assert abs(found[0] - true[0]) < max(1, scale)
            assert abs(found[-1] - true[-1]) < max(1, scale)


def test_only_boxes_are_answered_and_every_object_once() -> None:
    batch = batch_of(scene("a"), scene("b", boxes=()), scene("c", boxes=((3, 3, 9, 9),)))
    for name in BASELINES:
        competitor = BoxBaselineCompetitor(name)
        answers = list(competitor.answers(batch, EvaluationSettings()))
        assert {answer.prompt for answer in answers} == {"box", "loose_box"}
        rows = [(a.prompt, row) for a in answers for row in a.rows.tolist()]
        assert sorted(rows) == sorted((p, row) for p in ("box", "loose_box") for row in range(3))
        assert all(answer.predicted_iou is None for answer in answers)
        assert all(set(mark) == {"box"} for answer in answers for mark in answer.marks)
        assert competitor.describe()["num_parameters"] == 0


def test_otsu_finds_the_bright_object_in_a_loose_box_of_many_channels() -> None:
    sample = scene(boxes=((10, 10, 29, 29),), size=(64, 64))
    sample = sample.replace(image=torch.cat([sample.image, sample.image[:2]]))
    (answer,) = BoxBaselineCompetitor("otsu").answers(
        batch_of(sample), EvaluationSettings(prompts=("loose_box",))
    )
    assert torch.equal(answer.masks, sample.masks())


def test_an_object_without_a_box_is_answered_with_nothing() -> None:
    sample = scene(boxes=((5, 5, 40, 40), (101, 101, 101, 101)), size=(256, 256))
    (answer,) = BoxBaselineCompetitor("ellipse").answers(
        batch_of(sample, image_size=32), EvaluationSettings(prompts=("box",))
    )
    assert answer.masks[0].any()
    assert not answer.masks[1].any()
    assert answer.marks[1] == {}
