"""Answers to prompts: chunking changes nothing, and the right token is used."""

import pytest
import torch

from samft.inference import masks as masks_module
from samft.inference.masks import answer, original_masks
from samft.models import build_sam
from samft.prompts.ambiguity import is_ambiguous
from samft.types import ABSENT, Frame, MaskOutput, PromptBatch


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_sam("vit_nano", image_size=64).eval()


def prompts(count: int) -> PromptBatch:
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(count, 2, generator=generator) * 30
    labels = torch.ones(count, 2, dtype=torch.int64)
    labels[::2, 1] = ABSENT
    return PromptBatch(
        image_index=torch.arange(count) % 2,
        points=torch.rand(count, 2, 2, generator=generator) * 60,
        labels=labels,
        boxes=torch.cat([corner, corner + 20], dim=1),
        has_box=torch.arange(count) % 3 == 0,
    )


@torch.no_grad()
def test_points_have_the_best_of_three_and_boxes_the_one_mask_whatever_the_chunks(sam) -> None:
    embeddings = sam.encode_image(torch.rand(2, 3, 64, 64) * 255)
    asked = prompts(7)
    whole, parts = answer(sam, embeddings, asked), answer(sam, embeddings, asked, chunk=2)
    torch.testing.assert_close(whole.logits, parts.logits, atol=1e-4, rtol=1e-4)
    all_four = sam.decode(embeddings, asked, multimask=None)
    ambiguous = is_ambiguous(asked)
    assert ambiguous.any()
    assert not ambiguous.all()
    expected = torch.where(ambiguous, all_four.iou[:, 1:].max(dim=1).values, all_four.iou[:, 0])
    torch.testing.assert_close(whole.iou[:, 0], expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_no_prompts(sam) -> None:
    embeddings = sam.encode_image(torch.rand(1, 3, 64, 64) * 255)
    empty = prompts(4).select(torch.zeros(0, dtype=torch.int64))
    output = answer(sam, embeddings, empty)
    assert output.logits.shape == (0, 1, 32, 32)
    frame = Frame(original_size=(10, 20), input_size=(32, 64), image_size=64)
    assert list(original_masks(output, empty.image_index, [frame])) == []


def test_each_image_at_its_own_size_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_module, "CHUNK_PIXELS", 2 * 64 * 64)
    frames = [
        Frame(original_size=(10, 20), input_size=(32, 64), image_size=64),
        Frame(original_size=(50, 50), input_size=(64, 64), image_size=64),
    ]
    logits = torch.full((5, 1, 16, 16), -1.0)
    logits[:, :, :4] = 1.0
    output = MaskOutput(logits=logits, iou=torch.zeros(5, 1))
    index = torch.tensor([0, 0, 0, 1, 1])
    chunks = list(original_masks(output, index, frames))
    assert [(chunk.image, chunk.rows.tolist()) for chunk in chunks] == [
        (0, [0, 1]),
        (0, [2]),
        (1, [3, 4]),
    ]
    assert chunks[0].masks.shape == (2, 10, 20)
    assert chunks[2].masks.shape == (2, 50, 50)
    assert chunks[0].masks[0, :5].all()
    assert not chunks[0].masks[0, 6:].any()
    high = list(original_masks(output, index, frames, threshold=2.0))
    assert not any(chunk.masks.any() for chunk in high)
