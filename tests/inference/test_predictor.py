"""The predictor: one prompt or many, any kind of image, and what it says to mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import samft
from samft import Predictor
from samft.errors import ConfigError, PromptError, SamftError
from samft.inference.predictions import decode_rle
from samft.models import build_sam

SIZE = (40, 80)


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=64).eval()


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def predictor(sam, image):
    found = Predictor(sam)
    found.set_image(image)
    return found


def many_points(count):
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(count, 2, 2, generator=generator) * torch.tensor([80, 40])
    return points, torch.tensor([[1, 0]]).repeat(count, 1)


def test_public_name() -> None:
    assert samft.Predictor is Predictor
    assert {"Predictor", "AutomaticMasks", "AutomaticMaskSettings"} <= set(dir(samft))


def test_one_prompt_has_no_axis_of_prompts(predictor) -> None:
    found = predictor.predict([[20, 10]], [1])
    assert found.masks.shape == (3, *SIZE)
    assert found.masks.dtype == torch.bool
    assert found.scores.shape == (3,)
    assert found.logits.shape == (3, 32, 32)
    assert torch.equal(found.masks, found.mask_logits() > 0)
    best = found.best()
    assert best.scores.tolist() == [found.scores.max().item()]
    assert torch.equal(best.masks[0], found.masks[found.scores.argmax()])
    assert predictor.predict(box=[1, 2, 30, 20], multimask=False).masks.shape == (1, *SIZE)


def test_many_prompts_are_answered_as_each_alone(sam, predictor, image) -> None:
    points, labels = many_points(5)
    found = predictor.predict(points, labels)
    assert found.masks.shape == (5, 3, *SIZE)
    assert found.best().masks.shape == (5, 1, *SIZE)
    for row in range(5):
        alone = predictor.predict(points[row].numpy(), labels[row].tolist())
        torch.testing.assert_close(alone.logits, found.logits[row], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.scores, found.scores[row], atol=1e-4, rtol=1e-4)
    in_pieces = Predictor(sam, prompts_per_batch=2)
    in_pieces.set_image(image)
    again = in_pieces.predict(points, labels)
    torch.testing.assert_close(again.logits, found.logits, atol=1e-4, rtol=1e-4)


def test_no_boxes_no_masks(predictor) -> None:
    found = predictor.predict(box=np.zeros((0, 4)))
    assert found.masks.shape == (0, 3, *SIZE)
    assert found.rle() == []
    assert found.best().scores.shape == (0, 1)


def test_run_lengths_and_arrays(predictor) -> None:
    found = predictor.predict(box=[[1, 2, 30, 20], [10, 10, 60, 35]])
    masks, scores, logits = found.numpy()
    assert masks.shape == (2, 3, *SIZE)
    assert scores.dtype == logits.dtype == np.float32
    decoded = np.stack([decode_rle(rle) for rle in found.rle()])
    assert np.array_equal(decoded, masks.reshape(6, *SIZE))


def test_logits_are_fed_back(predictor) -> None:
    first = predictor.predict([[20, 10]], [1])
    again = predictor.predict([[20, 10]], [1], mask=first.best().logits)
    assert again.logits.shape == first.logits.shape
    assert not torch.equal(again.logits, first.logits)
    points, labels = many_points(3)
    several = predictor.predict(points, labels).best()
    assert predictor.predict(points, labels, mask=several.logits).masks.shape[0] == 3
    assert predictor.predict(mask=several.logits.numpy()).masks.shape[0] == 3


def test_every_kind_of_image_is_the_same(sam, image) -> None:
    channels_first = torch.from_numpy(image).permute(2, 0, 1)
    kinds = {
        "array": (image, "RGB"),
        "read-only": (np.broadcast_to(image, image.shape), "RGB"),
        "picture": (Image.fromarray(image), "RGB"),
        "tensor": (channels_first, "RGB"),
        "BGR array": (image[..., ::-1], "BGR"),
        "BGR tensor": (channels_first.flip(0), "BGR"),
    }
    predictor = Predictor(sam)
    predictor.set_image(image)
    expected = predictor.embeddings
    for name, (kind, image_format) in kinds.items():
        predictor.set_image(kind, image_format)
        assert torch.equal(predictor.embeddings, expected), name
    small = channels_first[:, :, :64]  # needs no resize, after which floats are not rounded
    predictor.set_image(small)
    expected = predictor.embeddings
    predictor.set_image(small.double())
    assert torch.equal(predictor.embeddings, expected)
    grey = Image.fromarray(image[..., 0])
    predictor.set_image(grey)
    expected = predictor.embeddings
    predictor.set_image(np.repeat(image[..., :1], 3, axis=2))
    assert torch.equal(predictor.embeddings, expected)


def test_several_images_of_several_sizes(sam, image) -> None:
    others = [image, image[:, :33], torch.from_numpy(image).permute(2, 0, 1).float()]
    predictor = Predictor(sam)
    predictor.set_images(others, batch_size=2)
    assert len(predictor.frames) == 3
    together = [predictor.predict(box=[2, 3, 25, 30], image=i) for i in range(3)]
    for found, other in zip(together, others, strict=True):
        predictor.set_image(other)
        alone = predictor.predict(box=[2, 3, 25, 30])
        assert found.masks.shape == alone.masks.shape
        torch.testing.assert_close(found.logits, alone.logits, atol=1e-4, rtol=1e-4)
    assert together[1].masks.shape == (3, 40, 33)


def test_the_model_is_left_as_it_was(image) -> None:
    sam = build_sam("vit_nano", image_size=64)
    sam.train()
    sam.prompt_encoder.eval()
    before = {name: buffer.clone() for name, buffer in sam.named_buffers()}
    predictor = Predictor(sam)
    predictor.set_image(image)
    assert not predictor.predict([[20, 10]], [1]).logits.requires_grad
    assert sam.training
    assert sam.image_encoder.training
    assert not sam.prompt_encoder.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in sam.named_buffers())


def test_half_precision(image) -> None:
    sam = build_sam("vit_nano", image_size=64).eval().bfloat16()
    predictor = Predictor(sam)
    predictor.set_image(image)
    assert predictor.embeddings.dtype == torch.bfloat16
    found = predictor.predict([[20, 10]], [1])
    masks, scores, logits = found.numpy()
    assert masks.shape == (3, *SIZE)
    assert scores.dtype == logits.dtype == np.float32
    assert predictor.predict(mask=found.best().logits).masks.shape == (3, *SIZE)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ({}, "there is no prompt"),
        ({"points": [[1, 2]]}, "points come without labels"),
        ({"labels": [1]}, "labels come without points"),
        ({"labels": [1], "box": [1, 2, 3, 4]}, "labels come without points"),
        ({"points": [1, 2], "labels": [1]}, "found: (2,), expected: [N, 2] for one prompt, [P, N,"),
        ({"points": [[1, 2, 3]], "labels": [1]}, "points of the wrong shape"),
        ({"points": np.zeros((0, 2)), "labels": []}, "found: (1, 0, 2)"),
        ({"points": [[1, 2], [3]], "labels": [1, 1]}, "points cannot be read as an array"),
        ({"points": [["a", "b"]], "labels": [1]}, "points cannot be read as an array"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "found: 1 points, 2 labels"),
        ({"points": [[1, 2]], "labels": [2]}, "found: 2, expected: 1 (object) or 0 (background)"),
        ({"points": [[1, 2]], "labels": [-1]}, "found: -1, expected: 1 (object)"),
        (
            {"points": [[81, 2]], "labels": [1]},
            "found: x 81, y 2, expected: x from 0 to 80, y from",
        ),
        ({"points": [[1, -0.5]], "labels": [1]}, "where: points, found: x 1, y -0.5"),
        ({"points": [[np.nan, 2]], "labels": [1]}, "found: x nan, y 2"),
        ({"box": [1, 2, 3]}, "box of the wrong shape"),
        ({"box": [1, 2, 90, 4]}, "where: box, found: x 90, y 4"),
        ({"box": [30, 2, 10, 4]}, "found: [30.0, 2.0, 10.0, 4.0]"),
        ({"box": [[1, 2, 3, 4]] * 2, "points": [[1, 2]], "labels": [1]}, "labels 1, box 2"),
        ({"mask": np.zeros((1, 16, 16), np.float32)}, "expected: [1, 32, 32] for one prompt"),
        ({"mask": np.zeros((40, 80), np.float32)}, "mask of the wrong shape"),
        ({"mask": np.zeros((1, 32, 32), bool)}, "the mask is no map of logits"),
    ],
)
def test_mistakes_in_a_prompt(predictor, prompt, message) -> None:
    with pytest.raises(PromptError) as caught:
        predictor.predict(**prompt)
    assert message in str(caught.value)
    assert str(caught.value).count("\n") <= 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((5, 6, 3), np.float32), "found: shape (5, 6, 3), float32"),
        (np.zeros((5, 6), np.uint8), "found: shape (5, 6), uint8"),
        (np.zeros((5, 6, 4), np.uint8), "drop an alpha channel"),
        (np.zeros((0, 6, 3), np.uint8), "found: shape (0, 6, 3)"),
        (torch.zeros(5, 6, 3), "expected: shape (3, height, width)"),
        (torch.zeros(3, 5, 6, dtype=torch.int64), "torch.int64"),
        (torch.rand(3, 5, 6), "multiply an image of 0..1 by 255"),
        (torch.full((3, 5, 6), 300.0), "found: 300 to 300, expected: 0 to 255"),
        (torch.full((3, 5, 6), torch.nan), "found: nan to nan"),
        (Image.new("I;16", (5, 6)), "found: PIL mode I;16"),
        ("a.png", "found: str"),
    ],
)
def test_mistakes_in_an_image(predictor, wrong, message) -> None:
    before = predictor.embeddings
    with pytest.raises(ConfigError) as caught:
        predictor.set_image(wrong)
    assert message in str(caught.value)
    assert predictor.embeddings is before


def test_mistakes_in_the_order_of_calls(sam, predictor, image) -> None:
    with pytest.raises(ConfigError, match="did you mean 'RGB'"):
        predictor.set_image(image, "RGBA")
    with pytest.raises(ConfigError, match="found: 1, expected: 0 to 0"):
        predictor.predict([[1, 2]], [1], image=1)
    with pytest.raises(ConfigError, match="found: 0 images"):
        predictor.set_images([])
    with pytest.raises(ConfigError, match="prompts_per_batch is out of range"):
        Predictor(sam, prompts_per_batch=0)
    predictor.reset_image()
    for fresh in (predictor, Predictor(sam)):
        with pytest.raises(SamftError) as caught:
            fresh.predict([[1, 2]], [1])
        assert "call set_image(image) first" in str(caught.value)
