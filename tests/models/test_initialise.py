"""Weights for training from scratch."""

from __future__ import annotations

import pytest
import torch
from tiny_sam import TINY

from samft.models.config import SamConfig, VitEncoder
from samft.models.initialise import initialise_from_scratch
from samft.models.registry import build_from_config, build_sam

PLAIN = SamConfig(
    name="plain",
    encoder=VitEncoder(dim=144, depth=2, heads=4, global_blocks=(1,), window_size=8),
    image_size=256,
    embed_dim=128,
    decoder_mlp_dim=256,
)


def cross_attentions(sam):
    for block in sam.mask_decoder.transformer.layers:
        yield block.cross_attn_token_to_image
        yield block.cross_attn_image_to_token
    yield sam.mask_decoder.transformer.final_attn_token_to_image


def weights_of(attention, sam, *, cells, tokens):
    """Return (heads, queries, keys) logits between position codes alone, for xy in pixels."""
    encoder = sam.prompt_encoder
    q = attention.q_proj(encoder.pe_layer((cells + 0.5) / sam.image_size))
    k = attention.k_proj(encoder.pe_layer((tokens + 0.5) / sam.image_size))
    heads = attention.num_heads
    q, k = (x.view(x.shape[0], heads, -1).transpose(0, 1) for x in (q, k))
    return (q @ k.mT) / q.shape[-1] ** 0.5


GRID = torch.cartesian_prod(torch.arange(32), torch.arange(32)).flip(1) * 8 + 3.5  # (x, y)


@torch.no_grad()
@pytest.mark.parametrize("arch", ["vit_nano", "vit_t"])
def test_a_point_looks_at_its_own_place(arch):
    torch.manual_seed(0)
    sam = build_sam(arch, image_size=256)
    places = GRID.float() if arch == "vit_nano" else GRID[::4].float()
    for index in (0, 2, 4):
        attention = list(cross_attentions(sam))[index]
        logits = weights_of(attention, sam, cells=places, tokens=places)
        best = logits.softmax(dim=2).mean(0).argmax(1)
        near = (places[best] - places).abs().amax(1) <= 8
        assert near.float().mean() > 0.9


@torch.no_grad()
def test_cells_know_on_which_side_of_a_token_they_lie():
    torch.manual_seed(0)
    sam = build_sam("vit_nano")
    block = sam.mask_decoder.transformer.layers[0].cross_attn_image_to_token
    generator = torch.Generator().manual_seed(0)
    tokens = torch.rand(64, 2, generator=generator) * 255
    logits = weights_of(block, sam, cells=GRID.float(), tokens=tokens)
    for head, axis in ((0, 0), (1, 1)):
        distance = GRID[:, None, axis] - tokens[None, :, axis]
        right = (logits[head] > 0) == (distance > 0)
        beside = (distance.abs() > 4) & (distance.abs() <= 64)
        assert right[beside].float().mean() > 0.99
        assert right[distance.abs() > 64].float().mean() > 0.75
        other = (logits[2:] > 0) == (distance > 0)  # these ask how near
        assert other.float().mean() < 0.6


@torch.no_grad()
def test_waves_run_along_the_axes_and_reach_the_cells():
    sam = build_from_config(TINY)
    initialise_from_scratch(sam)
    waves = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    assert ((waves != 0).sum(dim=0) == 1).all()
    highest = max(TINY.grid_size / 4, 1 / 8)
    for axis in range(2):
        assert waves[axis].max() == pytest.approx(highest)
        assert waves[axis, waves[axis] > 0].min() == pytest.approx(1 / 8)


def test_queries_and_keys_of_tokens_start_tied_but_are_separate_parameters():
    sam = build_from_config(TINY)
    initialise_from_scratch(sam)
    for block in sam.mask_decoder.transformer.layers:
        attention = block.self_attn
        assert torch.equal(attention.q_proj.weight, attention.k_proj.weight)
        assert attention.q_proj.weight.data_ptr() != attention.k_proj.weight.data_ptr()


def test_encoder_weights():
    torch.manual_seed(0)
    encoder = build_from_config(PLAIN)
    initialise_from_scratch(encoder)
    encoder = encoder.image_encoder
    assert 0.018 < encoder.pos_embed.std() < 0.022
    assert 0.018 < encoder.blocks[0].attn.qkv.weight.std() < 0.022
    assert not encoder.blocks[0].attn.qkv.bias.any()
    assert not encoder.blocks[0].attn.rel_pos_h.any()


def test_the_same_seed_gives_the_same_weights():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_sam("vit_nano").state_dict())
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())
