"""The encoder's switches; that it is the official encoder is shown by the parity tests."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_sam import TINY, tiny_sam
from torch import nn

from samft.models import chunked_attention, pieces
from samft.models.image_encoder import Attention, ImageEncoder
from samft.models.registry import build_from_config


@pytest.fixture
def images():
    return torch.randn(2, 3, TINY.image_size, TINY.image_size)


def encoder_like(reference, **options):
    """Build an encoder with other options and the same weights, in training mode."""
    encoder = ImageEncoder(TINY, **options)
    encoder.load_state_dict(reference.state_dict())
    return encoder


def set_variant(encoder, variant):
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.variant = variant


def gradients(encoder, images):
    encoder.zero_grad(set_to_none=True)
    output = encoder(images)
    upstream = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    output.backward(upstream)
    return [output.detach(), *(parameter.grad for parameter in encoder.parameters())]


def assert_all_close(found, expected, tolerance=1e-5):
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().max().clamp(min=1e-3)
        assert (ours - theirs).abs().max() <= tolerance * scale


def test_pieces_and_chunks_change_nothing(images, monkeypatch):
    """Small maps run in one go; force the code paths of large ones."""
    encoder = tiny_sam().image_encoder.double()
    images = images.double()
    expected = gradients(encoder, images)
    monkeypatch.setattr(pieces, "_PIECE_TOKENS", 16)
    monkeypatch.setattr(chunked_attention, "_CHUNK_ELEMENTS", 200)
    assert_all_close(gradients(encoder, images), expected, 1e-9)
    encoder.checkpoint_blocks = True
    assert_all_close(gradients(encoder, images), expected, 1e-9)
    with torch.no_grad():
        assert_all_close([encoder(images)], expected[:1], 1e-9)


@pytest.mark.parametrize("variant", ["eager", "sdpa"])
def test_attention_variants_agree(images, variant):
    encoder = tiny_sam().image_encoder.double()
    expected = gradients(encoder, images.double())
    set_variant(encoder, variant)
    assert_all_close(gradients(encoder, images.double()), expected, 1e-9)


def test_the_projections_see_no_padding(images):
    """A grid of 8 in windows of 5 would be 10 x 10 tokens with padding."""
    encoder, seen = tiny_sam().image_encoder, {"qkv": [], "proj": []}
    for block in encoder.blocks:
        for name, rows in seen.items():
            getattr(block.attn, name).register_forward_hook(
                lambda module, inputs, output, rows=rows: rows.append(inputs[0].shape[:-1].numel())
            )
    encoder(images[:1])
    tokens = TINY.grid_size**2
    assert seen == {"qkv": [tokens] * 3, "proj": [tokens] * 3}


def test_a_foreign_layer_without_a_bias_fills_the_windows_up(images):
    """As a LoRA that others wrap around the projection: asked about a token of zeros."""
    encoder = tiny_sam().image_encoder
    expected = encoder(images[:1])
    for block in encoder.blocks:
        block.attn.qkv = nn.Sequential(block.attn.qkv)
    torch.testing.assert_close(encoder(images[:1]), expected)


def test_images_do_not_influence_each_other(images):
    encoder = tiny_sam().image_encoder
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("checkpoint_blocks", "runs"),
    [(False, [1, 1, 1]), (True, [2, 2, 2]), ((1, 1), [1, 2, 1]), ((1, 2), [1, 2, 2])],
)
def test_checkpointed_blocks_run_twice_with_the_same_gradients(images, checkpoint_blocks, runs):
    plain = tiny_sam().image_encoder
    encoder = encoder_like(plain, checkpoint_blocks=checkpoint_blocks)
    counts = [0, 0, 0]
    for index, block in enumerate(encoder.blocks):

        def count(*_, index=index):
            counts[index] += 1

        block.norm1.register_forward_hook(count)
    assert_all_close(gradients(encoder, images), gradients(plain, images))
    assert counts == runs


def test_checkpointing_is_off_without_gradients(images):
    encoder = encoder_like(tiny_sam().image_encoder, checkpoint_blocks=True)
    with torch.no_grad():
        assert not encoder(images).requires_grad


def test_drop_path_rises_with_depth(images):
    encoder = encoder_like(tiny_sam().image_encoder, drop_path=0.4)
    assert [block.drop_path.rate for block in encoder.blocks] == pytest.approx([0.0, 0.2, 0.4])
    assert not torch.equal(encoder(images), encoder(images))
    encoder.eval()
    with torch.no_grad():
        expected = tiny_sam().image_encoder(images)
        assert torch.equal(encoder(images), expected)


def test_autocast(images):
    encoder = tiny_sam().image_encoder
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(0.2)
    expected = gradients(encoder, images)
    encoder.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = encoder(images)
    upstream = torch.linspace(-1, 1, output.numel()).view_as(output)
    output.backward(upstream.to(output.dtype))
    found = [output.float(), *(parameter.grad for parameter in encoder.parameters())]
    assert_all_close(found[:1], expected[:1], 0.1)
    assert all(gradient is not None and gradient.isfinite().all() for gradient in found)


def test_a_frozen_encoder_gives_no_gradients(images):
    encoder = tiny_sam().image_encoder.requires_grad_(False)
    assert not encoder(images).requires_grad


@pytest.mark.parametrize("image_size", [16, 80, 144])
def test_any_multiple_of_the_patch_size(image_size):
    sam = build_from_config(replace(TINY, image_size=image_size))
    with torch.no_grad():
        output = sam.image_encoder(torch.randn(1, 3, image_size, image_size))
    side = image_size // TINY.patch_size
    assert output.shape == (1, TINY.embed_dim, side, side)
    assert output.isfinite().all()


def test_it_can_be_exported(images):
    encoder = tiny_sam().image_encoder.eval().requires_grad_(False)
    program = torch.export.export(encoder, (images,))
    torch.testing.assert_close(program.module()(images), encoder(images), rtol=1e-3, atol=1e-3)
