"""Whether answers depend on prompts, on masks of a few pixels."""

import torch

from samft.metrics.sensitivity import PromptSensitivity, pairwise_iou


def squares(*places: int, side: int = 4) -> torch.Tensor:
    masks = torch.zeros(len(places), 8, 32, dtype=torch.bool)
    for mask, left in zip(masks, places, strict=True):
        mask[:side, left : left + side] = True
    return masks


NOTHING = torch.zeros(0, 8, 32, dtype=torch.bool)


def test_pairwise_iou() -> None:
    found = pairwise_iou(squares(0, 8), squares(0, 2, 20))
    torch.testing.assert_close(found, torch.tensor([[1.0, 8 / 24, 0.0], [0.0, 0.0, 0.0]]))
    assert pairwise_iou(NOTHING, squares(0)).shape == (0, 1)
    assert not pairwise_iou(squares(0, side=0), squares(0, side=0)).any()


def test_one_answer_to_everything() -> None:
    metric = PromptSensitivity()
    metric.update(squares(0, 0, 20), squares(0, 10, 20), NOTHING)
    assert metric.compute()["same_answer"] == 2 / 3
    assert metric.compute()["background_hit"].isnan()


def test_objects_that_are_the_same_may_be_answered_alike() -> None:
    metric = PromptSensitivity()
    metric.update(squares(0, 0), squares(0, 0), NOTHING)
    assert metric.compute()["same_answer"] == 0


def test_a_lone_object_cannot_be_taken_for_another() -> None:
    metric = PromptSensitivity()
    metric.update(squares(0), squares(0), NOTHING)
    assert metric.compute()["same_answer"].isnan()


def test_background_clicks() -> None:
    metric = PromptSensitivity()
    metric.update(squares(0), squares(0), squares(0))
    metric.update(squares(0), squares(0), squares(20))
    metric.update(NOTHING, NOTHING, squares(20))  # without objects nothing can be hit
    assert metric.compute()["background_hit"] == 0.5
