"""An image encoder run in two parts is the encoder run at once, wherever it is divided."""

from __future__ import annotations

import pytest
import torch
from tiny_sam import TINY, TINY_T, tiny_sam

from samft.models.adaptation.parts import encoder_blocks
from samft.models.registry import build_from_config

# (configuration, blocks, shapes of the tokens before each block and before the neck)
CASES = {
    "vit": (TINY, 3, [(8, 8, 32)] * 4),
    "tiny_vit": (TINY_T, 5, [(32, 32, 8), (16, 16, 16), (8, 8, 24), (8, 8, 24), (8, 8, 32)]),
}
CUTS = [(name, stop) for name, (_, depth, _) in CASES.items() for stop in range(depth + 1)]


def images(height=128, width=128):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, height, width, generator=generator)


def freeze_below(sam, stop):
    sam.requires_grad_(requires_grad=True)
    encoder, blocks = sam.image_encoder, encoder_blocks(sam)
    encoder.patch_embed.requires_grad_(requires_grad=False)
    if hasattr(encoder, "pos_embed"):
        encoder.pos_embed.requires_grad = False
    for block in blocks[:stop]:
        for module in (block.module, block.after):
            if module is not None:
                module.requires_grad_(requires_grad=False)
    return encoder


def step(encoder, output):
    """Return the output and all gradients of a fixed loss."""
    encoder.zero_grad(set_to_none=True)
    output.backward(torch.linspace(-1, 1, output.numel()).view_as(output))
    return [output.detach(), *(p.grad for p in encoder.parameters())]


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


@pytest.mark.parametrize(("name", "stop"), CUTS)
def test_two_parts_are_the_whole_to_the_bit(name, stop):
    encoder = freeze_below(tiny_sam(config=CASES[name][0]), stop).eval()
    with torch.no_grad():
        tokens = encoder(images(), stop=stop)
        assert torch.equal(encoder(tokens, start=stop), encoder(images()))
    stored = tokens.contiguous().clone()  # as it comes back from a file
    assert_equal(step(encoder, encoder(stored, start=stop)), step(encoder, encoder(images())))


@pytest.mark.parametrize("checkpoint_blocks", [True, (1, 2)])
@pytest.mark.parametrize(("name", "stop"), [("vit", 1), ("tiny_vit", 2)])
def test_parts_with_recomputed_blocks_and_stochastic_depth(name, stop, checkpoint_blocks):
    config = CASES[name][0]
    plain = tiny_sam(config=config)
    sam = build_from_config(config, drop_path=0.5, checkpoint_blocks=checkpoint_blocks)
    sam.load_state_dict(plain.state_dict())
    encoder = freeze_below(sam, stop).train()
    encoder.requires_grad_(requires_grad=True)
    answers = []
    for parts in (False, True):
        torch.manual_seed(5)
        encoder.load_state_dict(plain.image_encoder.state_dict())  # batch norms have moved on
        if parts:
            answers.append(step(encoder, encoder(encoder(images(), stop=stop), start=stop)))
        else:
            answers.append(step(encoder, encoder(images())))
    assert_equal(*answers)


def test_a_middle_part():
    for config, depth, _ in CASES.values():
        encoder = tiny_sam(config=config).image_encoder.eval()
        with torch.no_grad():
            x = encoder(images(), stop=1)
            x = encoder(x, start=1, stop=depth - 1)
            assert torch.equal(encoder(x, start=depth - 1), encoder(images()))


@pytest.mark.parametrize(("height", "width"), [(128, 128), (96, 128), (80, 48)])
def test_shapes_of_tokens(height, width):
    for name, (config, depth, shapes) in CASES.items():
        encoder = tiny_sam(config=config).image_encoder.eval()
        at_full_size = [encoder.tokens_shape(128, 128, stop=stop) for stop in range(depth)]
        assert at_full_size == shapes[:depth]
        if name == "vit" and (height, width) != (128, 128):
            continue  # its table of positions is square
        for stop in range(depth + 1):
            with torch.no_grad():
                tokens = encoder(images(height, width), stop=stop)
            assert tokens.shape[1:] == encoder.tokens_shape(height, width, stop=stop)


@pytest.mark.parametrize("name", CASES)
def test_what_lies_below_the_first_trained_block_keeps_no_graph(name):
    encoder = freeze_below(tiny_sam(config=CASES[name][0]), 2)
    grads = []
    blocks = encoder_blocks_of(encoder)
    for block in blocks:
        block.register_forward_hook(lambda *_: grads.append(torch.is_grad_enabled()))
    encoder(images())
    assert grads == [False, False, *[True] * (len(blocks) - 2)]


def encoder_blocks_of(encoder):
    if hasattr(encoder, "blocks"):
        return list(encoder.blocks)
    return [block for stage in encoder.layers for block in stage.blocks]
