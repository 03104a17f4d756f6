"""Weights for training from scratch."""

from __future__ import annotations

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


def attention_of_points(sam, points):
    """Return (cells, points): how much the first token-to-image attention looks at each cell."""
    attention = next(cross_attentions(sam))
    encoder = sam.prompt_encoder
    q = attention.q_proj(encoder.pe_layer((points + 0.5) / sam.image_size))
    k = attention.k_proj(encoder.image_position())
    heads = attention.num_heads
    q, k = (x.view(x.shape[0], heads, -1).transpose(0, 1) for x in (q, k))
    return ((k @ q.mT) / q.shape[-1] ** 0.5).softmax(dim=1).mean(0)


def test_a_point_looks_at_its_own_place():
    """Most points attend most to a cell beside them or their own; not so by default."""
    cells = torch.cartesian_prod(torch.arange(32), torch.arange(32))  # (row, column)
    points = cells.flip(1) * 8 + 3.5
    hits = {}
    for name, initialise in (("tied", True), ("default", False)):
        torch.manual_seed(0)
        sam = build_sam("vit_nano")
        if not initialise:
            sam.mask_decoder.load_state_dict(
                build_from_config(sam.config).mask_decoder.state_dict()
            )
        with torch.no_grad():
            best = attention_of_points(sam, points).argmax(0)
        hits[name] = ((cells[best] - cells).abs().amax(1) <= 1).float().mean().item()
    assert hits["tied"] > 0.8
    assert hits["default"] < 0.1


def test_queries_and_keys_start_tied_but_are_separate_parameters():
    sam = build_from_config(TINY)
    initialise_from_scratch(sam)
    for attention in cross_attentions(sam):
        assert torch.equal(attention.q_proj.weight, attention.k_proj.weight)
        assert attention.q_proj.weight.data_ptr() != attention.k_proj.weight.data_ptr()
    block = sam.mask_decoder.transformer.layers[0]
    assert not torch.equal(block.self_attn.q_proj.weight, block.self_attn.k_proj.weight)


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
