"""SAMs small enough to write to disk in every test."""

from __future__ import annotations

import torch
from torch import Tensor

from samft.models.config import SamConfig, TinyVitEncoder, VitEncoder
from samft.models.registry import build_from_config
from samft.models.sam import Sam

TINY = SamConfig(
    name="tiny",
    encoder=VitEncoder(dim=32, depth=3, heads=2, global_blocks=(1,), window_size=5),
    image_size=128,
    embed_dim=32,
    decoder_heads=4,
    decoder_mlp_dim=64,
)

# Maps of 32, 16, 8 and 8 cells: no window divides its map, so every block with attention pads.
TINY_T = SamConfig(
    name="tiny_t",
    encoder=TinyVitEncoder(
        dims=(8, 16, 24, 32),
        depths=(1, 1, 2, 1),
        heads=(1, 2, 3, 4),
        windows=(3, 3, 5, 3),
        strides=(2, 2, 1),
        num_classes=6,
    ),
    image_size=128,
    embed_dim=32,
    decoder_heads=4,
    decoder_mlp_dim=64,
)


def tiny_sam(seed: int = 0, config: SamConfig = TINY) -> Sam:
    """Build a tiny SAM with random values in every tensor, tables that start at zero included."""
    torch.manual_seed(seed)
    sam = build_from_config(config)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.normal_()
        for name, buffer in sam.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
    return sam


def assert_same(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Fail unless both have the same keys and bit-equal values."""
    assert state.keys() == other.keys()
    for key, tensor in state.items():
        assert torch.equal(tensor, other[key]), key
