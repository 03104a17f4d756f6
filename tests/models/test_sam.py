"""The whole model: batching, empty batches, gradients, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sam import TINY, tiny_sam

from samft.errors import ConfigError
from samft.models.sam import Sam
from samft.types import ABSENT, PromptBatch

SIZE, GRID, DIM = TINY.image_size, TINY.grid_size, TINY.embed_dim


@pytest.fixture(scope="module")
def sam():
    return tiny_sam()


def ragged_prompts(count, num_points, seed, *, images=2):
    """Return prompts in which points, boxes and masks are there or not, row by row."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    def coin(*shape):
        return rand(*shape) < 0.5

    labels = coin(count, num_points).long().masked_fill(coin(count, num_points), ABSENT)
    return PromptBatch(
        image_index=(rand(count) * images).long(),
        points=rand(count, num_points, 2) * SIZE,
        labels=labels,
        boxes=rand(count, 4) * SIZE,
        has_box=coin(count),
        mask_logits=4 * rand(count, 1, SIZE // 4, SIZE // 4) - 2,
        has_mask=coin(count),
    )


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 6), num_points=st.integers(0, 4), seed=st.integers(0, 10_000))
def test_a_prompt_does_not_depend_on_its_batch(count, num_points, seed):
    """Each row alone, stripped of every slot it does not use, gives the same answer."""
    sam = tiny_sam()
    embeddings = torch.randn(2, DIM, GRID, GRID)
    prompts = ragged_prompts(count, num_points, seed)
    with torch.no_grad():
        together = sam.decode(embeddings, prompts, multimask=None)
        for row in range(count):
            alone = sam.decode(embeddings, strip(prompts, row), multimask=None)
            scale = alone.logits.abs().max()
            assert (together.logits[row] - alone.logits[0]).abs().max() < 1e-4 * scale
            torch.testing.assert_close(together.iou[row], alone.iou[0], rtol=1e-3, atol=1e-3)


def strip(prompts, row):
    """Return one row without absent points, box or mask."""
    one = prompts.select(torch.tensor([row]))
    used = one.labels[0] != ABSENT
    has_points = bool(used.any())
    return PromptBatch(
        image_index=one.image_index,
        points=one.points[:, used] if has_points else None,
        labels=one.labels[:, used] if has_points else None,
        boxes=one.boxes if one.has_box else None,
        mask_logits=one.mask_logits if one.has_mask else None,
    )


@pytest.mark.parametrize(("multimask", "masks"), [(True, 3), (False, 1), (None, 4)])
def test_no_prompts(sam, multimask, masks):
    embeddings = torch.randn(2, DIM, GRID, GRID, requires_grad=True)
    prompts = ragged_prompts(3, 2, 0).select(torch.zeros(3, dtype=torch.bool))
    output = sam.decode(embeddings, prompts, multimask=multimask)
    assert output.logits.shape == (0, masks, SIZE // 4, SIZE // 4)
    assert output.iou.shape == (0, masks)
    (output.logits.sum() + output.iou.sum()).backward()
    assert not embeddings.grad.any()


def test_which_masks_are_returned(sam):
    embeddings, prompts = torch.randn(2, DIM, GRID, GRID), ragged_prompts(4, 2, 1)
    with torch.no_grad():
        every = sam.decode(embeddings, prompts, multimask=None)
        three = sam.decode(embeddings, prompts, multimask=True)
        one = sam.decode(embeddings, prompts, multimask=False)
    for field in ("logits", "iou"):
        joined = torch.cat((getattr(one, field), getattr(three, field)), dim=1)
        torch.testing.assert_close(joined, getattr(every, field), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("multimask", "used"), [(True, {1, 2, 3}), (False, {0})])
def test_masks_not_asked_for_get_zero_gradients_not_none(multimask, used):
    sam = tiny_sam()
    embeddings = torch.randn(2, DIM, GRID, GRID)
    output = sam.decode(embeddings, ragged_prompts(4, 2, 1), multimask=multimask)
    (output.logits.square().mean() + output.iou.square().mean()).backward()
    decoder = sam.mask_decoder
    missing = [name for name, p in decoder.named_parameters() if p.grad is None]
    assert missing == []
    for index, mlp in enumerate(decoder.output_hypernetworks_mlps):
        assert all(bool(p.grad.any()) == (index in used) for p in mlp.parameters())
    head = decoder.iou_prediction_head.layers[-1].weight.grad
    assert {row for row in range(4) if head[row].any()} == used


def test_memory_layout_of_the_embedding_does_not_matter(sam):
    embeddings, prompts = torch.randn(2, DIM, GRID, GRID), ragged_prompts(3, 2, 2)
    with torch.no_grad():
        plain = sam.decode(embeddings, prompts, multimask=True)
        channels_last = sam.decode(
            embeddings.contiguous(memory_format=torch.channels_last), prompts, multimask=True
        )
    assert torch.equal(plain.logits, channels_last.logits)


def test_forward_is_encode_and_decode(sam):
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    sizes, prompts = torch.tensor([[SIZE, 90], [64, SIZE]]), ragged_prompts(3, 2, 3)
    with torch.no_grad():
        found = sam(images, sizes, prompts, multimask=True)
        expected = sam.decode(sam.encode_image(images, sizes), prompts, multimask=True)
    assert torch.equal(found.logits, expected.logits)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalize_pads_afterwards(sam, dtype):
    images = torch.randint(0, 256, (2, 3, SIZE, SIZE)).to(dtype)
    pixels = sam.normalize(images, torch.tensor([[SIZE, 90], [64, SIZE]]))
    assert pixels.dtype == torch.float32
    expected = (images[0, 1, 3, 5].item() - 116.28) / 57.12
    assert pixels[0, 1, 3, 5].item() == pytest.approx(expected, abs=1e-5)
    assert not pixels[0, :, :, 90:].any()
    assert not pixels[1, :, 64:].any()
    whole = sam.normalize(images)
    assert torch.equal(pixels[0, :, :, :90], whole[0, :, :, :90])
    assert torch.equal(pixels[1, :, :64], whole[1, :, :64])


def test_pixels_in_the_padding_do_not_matter(sam):
    images = torch.randint(0, 256, (1, 3, SIZE, SIZE), dtype=torch.uint8)
    other = images.clone()
    other[:, :, 100:] = 255
    sizes = torch.tensor([[100, SIZE]])
    with torch.no_grad():
        assert torch.equal(sam.encode_image(images, sizes), sam.encode_image(other, sizes))


def test_pixel_statistics_are_not_in_the_state_dict(sam):
    assert not any("pixel" in key for key in sam.state_dict())
    assert sam.pixel_mean.flatten().tolist() == pytest.approx([123.675, 116.28, 103.53])
    assert sam.mask_threshold == 0.0
    assert sam.image_size == SIZE


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (3, SIZE, SIZE), (1, 3, SIZE, SIZE + 1)])
def test_images_of_another_size(sam, shape):
    with pytest.raises(ConfigError) as caught:
        sam.encode_image(torch.zeros(shape))
    text = str(caught.value)
    assert text.startswith("images do not have the model's input size")
    assert f"found: {shape}, expected: (B, 3, {SIZE}, {SIZE})" in text
    assert "fix: " in text


def test_embeddings_of_another_model(sam):
    with pytest.raises(ConfigError) as caught:
        sam.decode(torch.zeros(1, 256, 64, 64), ragged_prompts(1, 1, 0), multimask=True)
    assert "image embeddings do not fit the model" in str(caught.value)
    assert f"found: (1, 256, 64, 64), expected: (B, {DIM}, {GRID}, {GRID})" in str(caught.value)


@pytest.mark.parametrize("image_size", [100, 0, -16])
def test_an_input_size_that_is_no_multiple_of_the_patch(image_size):
    with pytest.raises(ConfigError) as caught:
        Sam(replace(TINY, image_size=image_size))
    assert str(caught.value).startswith("the input size must be a multiple of the patch size")
    assert "where: image_size" in str(caught.value)
    assert f"found: {image_size}, expected: a multiple of 16" in str(caught.value)


def test_autocast(sam):
    images = torch.randint(0, 256, (1, 3, SIZE, SIZE), dtype=torch.uint8)
    prompts = ragged_prompts(3, 2, 4, images=1)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = sam(images, None, prompts, multimask=True)
    assert output.logits.isfinite().all()
    assert output.iou.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_model_in_half_precision(dtype):
    sam = tiny_sam().bfloat16()
    images = torch.randint(0, 256, (1, 3, SIZE, SIZE)).to(dtype)
    output = sam(images, None, ragged_prompts(3, 2, 4, images=1), multimask=True)
    assert output.logits.dtype == torch.bfloat16
    (output.logits.float().square().mean() + output.iou.float().sum()).backward()
    assert all(p.grad is not None for p in sam.image_encoder.parameters())
