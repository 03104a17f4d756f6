"""Validation: what is asked, how it is counted, and that only the objects matter."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samft.data.collate import collate
from samft.data.synthetic import generate
from samft.types import MaskOutput, PromptBatch, SamBatch
from samft.validation import Validation, simulate

SIZE = 64


class TruthfulSam(nn.Module):
    """Answers with the object under the newest positive click, or under the box's centre.

    Args:
        batch: Where the truth is.
        late: Clicks it takes until the answer is right; before, it is empty.
    """

    image_size = SIZE

    def __init__(self, batch: SamBatch, late: int = 1) -> None:
        super().__init__()
        self.batch, self.late = batch, late

    def decode(
        self, embeddings: Tensor, prompts: PromptBatch, *, multimask: bool | None, **_: Any
    ) -> MaskOutput:
        count = {None: 4, True: 3, False: 1}[multimask]
        logits = torch.full((prompts.num_prompts, count, SIZE // 2, SIZE // 2), -9.0)
        for row in range(prompts.num_prompts):
            clicks = 0 if prompts.labels is None else int((prompts.labels[row] >= 0).sum())
            if prompts.boxes is not None:
                x, y = prompts.boxes[row].view(2, 2).mean(0).long().tolist()
            else:
                x, y = prompts.points[row, 0].long().tolist()
            image = int(prompts.image_index[row])
            value = self.batch.layers[image, 0, y, x]
            if value > 0 and (prompts.boxes is not None or clicks >= self.late):
                mask = self.batch.layers[image, 0] == value
                logits[row] = torch.where(mask[::2, ::2], 9.0, -9.0)
        return MaskOutput(logits=logits, iou=torch.ones(prompts.num_prompts, count))


def squares(seed: int = 0) -> Any:
    sample = generate(seed, size=SIZE, look="shapes")
    layers = torch.zeros(1, SIZE, SIZE, dtype=torch.int32)
    layers[0, 4:20, 8:24], layers[0, 30:50, 40:60], layers[0, 40:48, 4:12] = 1, 2, 3
    zeros = torch.zeros(3, dtype=torch.int64)
    return sample.replace(layers=layers, object_layer=zeros, object_class=zeros)


def batch(*samples: Any) -> SamBatch:
    return collate(list(samples or (squares(),)), image_size=SIZE, keep_samples=True)


def scored(validation: Validation, sam: nn.Module, *batches: SamBatch) -> dict[str, float]:
    for each in batches:
        validation.update(sam, each, torch.zeros(len(each.frames), 1, 8, 8))
    return {name: float(value) for name, value in validation.compute().items()}


def test_a_perfect_model() -> None:
    data = batch()
    scores = scored(Validation(["box", "point"], clicks=3), TruthfulSam(data), data)
    for name in ("iou_box", "dice_box", "iou_point1", "iou_point3", "iou"):
        assert scores[name] > 0.99, name
    assert scores["clicks_to_90"] == 1
    assert scores["same_answer"] == scores["background_hit"] == 0


def test_names_are_those_of_the_scores() -> None:
    data = batch()
    for kinds, clicks in ((["box"], 1), (["point"], 9), (["box", "point"], 1), (["point"], 4)):
        validation = Validation(kinds, clicks=clicks)
        assert set(scored(validation, TruthfulSam(data), data)) == set(validation.names)


def test_later_clicks_count_as_later_clicks() -> None:
    data = batch()
    scores = scored(Validation(["point"], clicks=5), TruthfulSam(data, late=3), data)
    assert scores["iou_point1"] == 0
    assert scores["iou_point3"] > 0.99
    assert scores["clicks_to_85"] == 3


def test_one_answer_to_all_prompts_is_noticed() -> None:
    data = batch()

    class Deaf(TruthfulSam):
        def decode(self, embeddings: Tensor, prompts: PromptBatch, **options: Any) -> MaskOutput:
            output = super().decode(embeddings, prompts, **options)
            answer = torch.where((data.layers[0, 0] == 2)[::2, ::2], 9.0, -9.0)
            return MaskOutput(logits=answer.expand_as(output.logits), iou=output.iou)

    scores = scored(Validation(["point"]), Deaf(data), data)
    assert scores["same_answer"] == 1
    assert scores["background_hit"] == 1
    assert scores["iou_point1"] == pytest.approx(1 / 3, abs=0.01)


def test_batches_do_not_matter() -> None:
    first, second = squares(1), squares(2)
    moved = second.layers.flip(-1)
    second = second.replace(layers=moved)
    both = batch(first, second)
    together = scored(Validation(["box", "point"]), TruthfulSam(both), both)
    validation = Validation(["box", "point"])
    for sample in (first, second):
        each = batch(sample)
        validation.update(TruthfulSam(each), each, torch.zeros(1, 1, 8, 8))
    single = {name: float(value) for name, value in validation.compute().items()}
    assert together == pytest.approx(single)


def test_an_image_without_objects() -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    sample = squares().replace(
        layers=torch.zeros(1, SIZE, SIZE, dtype=torch.int32),
        object_layer=empty,
        object_class=empty,
    )
    data = batch(sample)
    scores = scored(Validation(["box", "point"], clicks=3), TruthfulSam(data), data)
    assert all(value != value for value in scores.values())  # nothing was asked, nothing is known


def test_prompts_are_a_function_of_the_object() -> None:
    data = batch()
    one = simulate("point", data.select(torch.tensor([1])))
    assert torch.equal(one.points[0], simulate("point", data).points[1])
    box = simulate("box", data)
    assert box.boxes[0].tolist() == [8, 4, 23, 19]
