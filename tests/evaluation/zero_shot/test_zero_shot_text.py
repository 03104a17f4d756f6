"""Text to mask with an encoder that is none: crops, tokens, scores."""

from __future__ import annotations

import math

import pytest
import torch
from evaluation.zero_shot.fake_encoder import FakeEncoder
from models.tiny_sam import tiny_sam

from samft.errors import ConfigError
from samft.evaluation.zero_shot.settings import TextSettings
from samft.evaluation.zero_shot.text import (
    TextAnswer,
    TextQuery,
    TextReport,
    class_queries,
    object_queries,
    run_text,
)
from samft.evaluation.zero_shot.text_crops import object_crop
from samft.evaluation.zero_shot.text_encoder import TextEncoder, decode_with_tokens, text_tokens
from samft.types import NEGATIVE, NO_CLASS, PADDING, POSITIVE, PromptBatch, Sample

SIZE = 100
CLASSES = ("red_cell", "dirt")


def sample() -> Sample:
    """Return three squares: two cells, one of which is large, and dirt."""
    layers = torch.zeros(1, SIZE, SIZE, dtype=torch.int32)
    for value, (top, left, side) in enumerate([(10, 10, 10), (30, 30, 30), (70, 70, 20)], start=1):
        layers[0, top : top + side, left : left + side] = value
    return Sample(
        image=torch.full((3, SIZE, SIZE), 200, dtype=torch.uint8),
        layers=layers,
        object_layer=torch.zeros(3, dtype=torch.int64),
        object_class=torch.tensor([0, 0, 1]),
        sample_id="a.png",
        case_id="a.png",
    )


def crop(widen: float = 1.0, zero_outside: float = 0.0, seed: int = 0, **changes):
    item = sample()
    return object_crop(
        changes.get("image", item.image),
        changes.get("mask", item.masks()[1]),
        generator=torch.Generator().manual_seed(seed),
        side=changes.get("side", 28),
        patch=changes.get("patch", 14),
        widen=widen,
        zero_outside=zero_outside,
    )


def test_a_crop_is_the_box_made_square():
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[40:50, 20:48] = True  # 10 high, 28 wide
    image = torch.arange(SIZE).expand(3, SIZE, SIZE).to(torch.uint8)  # each column its number
    found = crop(mask=mask, image=image)
    assert found.square == (20, 31, 28)
    assert torch.allclose(found.image[0], torch.arange(20.0, 48).expand(28, 28), atol=1e-3)
    assert found.inside.tolist() == [[True, True], [True, True]]


def test_widening_is_random_and_stays_in_its_range():
    sides = [crop(widen=2.0, seed=seed).square[2] for seed in range(20)]
    assert 30 <= min(sides) < 36
    assert 54 < max(sides) <= 60
    left, top, side = crop(widen=2.0).square
    assert (left + side / 2, top + side / 2) == (45, 45)


def test_half_of_the_crops_show_the_object_alone():
    alone = [
        bool((crop(widen=2.0, zero_outside=0.5, seed=seed).image[:, 0] == 0).all())
        for seed in range(40)
    ]
    assert 10 < sum(alone) < 30
    assert not any(bool((crop(widen=2.0, seed=seed).image[:, 0] == 0).all()) for seed in range(5))


def test_a_crop_that_reaches_out_of_the_image_is_black_there():
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[0:10, 0:40] = True
    found = crop(mask=mask)
    assert found.square == (0, -15, 40)
    assert float(found.image[:, :10].max()) == 0
    assert float(found.image[:, 12:].min()) == pytest.approx(200)
    assert found.inside.tolist() == [[True, True], [True, True]]


def test_large_objects_are_averaged_when_they_shrink():
    image = torch.zeros(3, 300, 300)
    image[..., ::2] = 200  # stripes finer than the crop
    mask = torch.ones(300, 300, dtype=torch.bool)
    found = crop(image=image, mask=mask)
    assert float((found.image[:, 2:-2, 2:-2] - 100).abs().max()) < 12


def test_crops_that_cannot_be():
    with pytest.raises(ConfigError, match="no whole number of patches"):
        crop(side=30)
    with pytest.raises(ConfigError, match="without a pixel"):
        crop(mask=torch.zeros(SIZE, SIZE, dtype=torch.bool))


def test_a_token_of_ones_own_is_read_as_those_of_the_prompt_encoder():
    sam = tiny_sam(1)
    embeddings = torch.randn(2, 32, 8, 8)
    index = torch.tensor([0, 1, 1])
    points, rest = torch.rand(3, 1, 2) * 128, torch.rand(3, 2, 2) * 128
    labels = torch.tensor([[NEGATIVE, POSITIVE], [PADDING, POSITIVE], [POSITIVE, -10]])
    whole = PromptBatch(
        image_index=index,
        points=torch.cat([points, rest], dim=1),
        labels=torch.cat([torch.ones(3, 1, dtype=torch.int64), labels], dim=1),
    )
    after = PromptBatch(image_index=index, points=rest, labels=labels)
    with torch.no_grad():
        token = sam.prompt_encoder(whole).tokens[:, 0]
        for multimask in (True, False):
            wanted = sam.decode(embeddings, whole, multimask=multimask)
            found = decode_with_tokens(sam, embeddings, token, after, multimask=multimask)
            assert torch.allclose(found.logits, wanted.logits, atol=1e-4, rtol=1e-4)
            assert torch.allclose(found.iou, wanted.iou, atol=1e-4, rtol=1e-4)
        bare = PromptBatch(image_index=index)
        one = decode_with_tokens(sam, embeddings, token, bare, multimask=False)
    assert one.logits.shape == (3, 1, 32, 32)
    assert not torch.allclose(one.logits, found.logits)


def test_classes_are_asked_for_by_name():
    encoder = FakeEncoder()
    assert isinstance(encoder, TextEncoder)
    queries = class_queries(CLASSES, "a photo of a {}")
    report = run_text(tiny_sam(), encoder, [sample()], queries, TextSettings())
    assert encoder.seen == ["a photo of a red cell", "a photo of a dirt"]
    assert [answer.query.objects for answer in report.answers] == [(0, 1), (2,)]
    row = report.outcome().rows[0]
    assert (row["class_name"], row["num_objects"]) == ("red_cell", 2)
    assert 0 <= row["iou"] <= 1
    assert 0 <= row["iou_corrected"] <= 1
    without = run_text(tiny_sam(), encoder, [sample()], queries, TextSettings(correct=False))
    assert [each.iou for each in without.answers] == [each.iou for each in report.answers]
    assert math.isnan(without.answers[0].iou_corrected)


def test_union_or_the_object_that_is_hit(monkeypatch):
    from samft.evaluation.zero_shot import text

    masks = iter([sample().masks()[:1], sample().masks()[:1]] * 2)
    monkeypatch.setattr(text, "_at_original", lambda *_: next(masks))
    for truth, expected in (("union", 100 / 1000), ("object", 1.0)):
        settings = TextSettings(truth=truth, correct=False)
        queries = class_queries(CLASSES)
        report = run_text(tiny_sam(), FakeEncoder(), [sample()], queries, settings)
        assert report.answers[0].iou == pytest.approx(expected)
        assert report.answers[1].iou == 0


def test_crops_in_place_of_texts():
    encoder = FakeEncoder()
    settings = TextSettings(prompt="crop", zero_outside=1.0)
    report = run_text(tiny_sam(), encoder, [sample()], object_queries(CLASSES), settings)
    assert encoder.seen == []
    assert [answer.query.objects for answer in report.answers] == [(0,), (1,), (2,)]
    crops, inside = encoder.crops[0]
    assert crops.shape == (3, 3, 28, 28)
    assert inside.shape == (3, 2, 2)
    again = FakeEncoder()
    run_text(tiny_sam(), again, [sample()], object_queries(CLASSES), settings)
    assert torch.equal(again.crops[0][0], crops)


def test_objects_without_class_or_pixel_are_not_asked_for():
    item = sample()
    item.object_class[0] = NO_CLASS
    item.layers[item.layers == 3] = 0
    report = run_text(tiny_sam(), FakeEncoder(), [item], class_queries(CLASSES), TextSettings())
    assert [answer.query.objects for answer in report.answers] == [(1,)]


def test_means_are_of_classes():
    def answer(name: str, iou: float) -> TextAnswer:
        query = TextQuery(text=name, objects=(0,), class_name=name)
        return TextAnswer(
            sample_id="a", case_id="a", number=1, query=query, iou=iou, iou_corrected=1.0,
            predicted_iou=0.5,
        )  # fmt: skip

    report = TextReport(answers=[answer("x", 0.2), answer("x", 0.4), answer("y", 0.9)])
    scores = report.outcome().scores
    assert scores["iou"] == pytest.approx(0.6)
    assert scores["iou/x"] == pytest.approx(0.3)
    assert scores["num_texts"] == 3
    assert math.isnan(TextReport().outcome().scores["iou"])


@pytest.mark.parametrize(
    ("part", "gives", "message"),
    [
        ("embed_texts", lambda *_: torch.zeros(3, 6), r"embeddings of another shape"),
        ("project", lambda e: e, r"prompt tokens of another shape\n  where: FakeEncoder, found: "),
        ("project", lambda e: torch.full((len(e), 32), torch.nan), "values that are no numbers"),
    ],
)
def test_an_encoder_that_does_not_keep_its_word(part, gives, message):
    encoder = FakeEncoder()
    setattr(encoder, part, gives)
    with pytest.raises(ConfigError, match=message):
        text_tokens(encoder, ["a"], tiny_sam())


def test_a_template_without_a_place():
    with pytest.raises(ConfigError, match="no place for the name of a class"):
        TextSettings.from_dict({"template": "cell"})
