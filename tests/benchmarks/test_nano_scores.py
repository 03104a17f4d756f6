"""The scores behind the nano table: against models whose answers are known."""

from __future__ import annotations

import pytest
import torch

from benchmarks.nano.scores import evaluate, evaluate_baselines, untrained_like
from benchmarks.nano.sets import EvaluationImage
from samft.data.collate import collate
from samft.data.geometry import points_to_input
from samft.inference.masks import answer, original_masks
from samft.metrics.objects import mask_scores
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_sam
from samft.models.sam import Sam
from samft.prompts.sampling import center_points
from samft.types import IGNORE, MaskOutput, PromptBatch, Sample


class BoxSam(Sam):
    """Answers a box with what is in it, up to a border 12 px wide of the input, else with nothing.

    Of its four masks only number 2 is right, and the model says so.
    """

    def encode_image(self, images, input_sizes=None):
        return torch.zeros(len(images), 1, 1, 1)

    def decode(self, embeddings, prompts: PromptBatch, *, multimask):
        side = self.image_size // 4
        logits = torch.full((prompts.num_prompts, 4, side, side), -1.0)
        for row, box in enumerate([] if prompts.boxes is None else prompts.boxes):
            x0, y0, x1, y1 = (int(value + 0.5) // 4 for value in box)
            logits[row, 2, y0 : y1 + 1, x0 : x1 + 1] = 1.0
            logits[row, 0] = logits[row, 2]
        iou = torch.tensor([[0.0, 0.1, 0.9, 0.2]]).expand(prompts.num_prompts, 4)
        output = MaskOutput(logits=logits, iou=iou)
        return output if multimask is None else MaskOutput(logits=logits[:, 1:], iou=iou[:, 1:])


def rectangles(height: int = 64, width: int = 128) -> EvaluationImage:
    layer = torch.zeros(1, height, width, dtype=torch.int32)
    layer[0, 8:16, 8:40] = 1
    layer[0, 32:48, 64:72] = 2
    sample = Sample(
        image=torch.randint(0, 256, (3, height, width), dtype=torch.uint8),
        layers=layer,
        object_layer=torch.zeros(2, dtype=torch.int64),
        object_class=torch.zeros(2, dtype=torch.int64),
        sample_id="rectangles",
        case_id="rectangles",
    )
    return EvaluationImage(sample=sample, rows=torch.arange(2))


@pytest.fixture(scope="module")
def nano() -> Sam:
    torch.manual_seed(5)
    return build_sam("vit_nano").eval()


def test_prompts_reach_the_model_where_they_belong():
    scores = evaluate(BoxSam(ARCHITECTURES["vit_nano"]), [rectangles()])
    # 128 px become 256: the box of a tight rectangle ends in the same cell of 4 px as it does.
    assert scores.iou["box"] == 1
    assert scores.iou["box_point"] == 1
    assert scores.iou["point"] == scores.iou["oracle"] == 0
    assert scores.empty == {"box": 0, "box_point": 0, "point": 1, "oracle": 1}


def test_only_the_chosen_objects_count():
    image = rectangles()
    image.sample.layers[0, 8:16, 8:40][:, ::2] = 0  # object 0 loses every other column
    model = BoxSam(ARCHITECTURES["vit_nano"])
    both = evaluate(model, [image]).iou["box"]
    second = EvaluationImage(sample=image.sample, rows=torch.tensor([1]))
    assert evaluate(model, [second]).iou["box"] == 1
    assert both < 0.8


def test_unknown_pixels_do_not_count():
    image = rectangles()
    image.sample.layers[0, 8:16, 24:40] = IGNORE
    image.sample.layers[0, 8:10, 38:40] = 1  # keeps the box as wide as it was
    image.sample.layers[0, 14:16, 8:10] = 1
    assert evaluate(BoxSam(ARCHITECTURES["vit_nano"]), [image]).iou["box"] == 1
    assert evaluate_baselines([image])[0]["filled box"] == 1


def test_scores_are_those_of_the_answers_people_get(nano):
    image = rectangles()
    found = evaluate(nano, [image])
    batch = collate([image.sample], image_size=256, keep_samples=True)
    truth = image.sample.masks()
    points = points_to_input(center_points(truth)[0], batch.frames[0])[:, None]
    prompts = PromptBatch(
        image_index=batch.image_index, points=points, labels=torch.ones(2, 1, dtype=torch.int64)
    )
    with torch.no_grad():
        output = answer(nano, nano.encode_image(batch.images, batch.input_sizes), prompts)
    (chunk,) = original_masks(output, batch.image_index, batch.frames)
    expected = mask_scores(chunk.masks, truth)[0].mean().item()
    assert found.iou["point"] == pytest.approx(expected, abs=1e-6)
    assert found.iou["oracle"] >= found.iou["point"]


def test_chunks_do_not_change_the_result(nano):
    images = [rectangles(), rectangles(200, 90)]
    whole, single = evaluate(nano, images), evaluate(nano, images, chunk=1)
    assert whole.iou == pytest.approx(single.iou, abs=1e-3)


def test_training_mode_is_left_as_it_was(nano):
    nano.train()
    evaluate(nano, [rectangles()])
    assert nano.training
    nano.eval()


def test_baselines_of_rectangles():
    found, radius = evaluate_baselines([rectangles()])
    assert found["filled box"] == 1
    # Areas 256 and 128: the disc has the area of their mean.
    assert radius == pytest.approx((192 / torch.pi) ** 0.5)
    assert 0.7 < found["ellipse"] < 0.82
    assert 0.3 < found["disc"] < 0.6


def test_untrained_model_is_the_same_every_time_and_draws_nothing(nano):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = untrained_like(nano)
    assert torch.equal(torch.rand(3), expected)
    second = untrained_like(nano)
    key = "mask_decoder.iou_token.weight"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], nano.state_dict()[key])
    assert first.config == nano.config
