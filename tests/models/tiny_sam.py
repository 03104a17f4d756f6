"""A SAM small enough to write to disk in every test."""

from __future__ import annotations

import torch
from torch import Tensor

from samft.models.config import SamConfig
from samft.models.registry import build_from_config
from samft.models.sam import Sam

TINY = SamConfig(
    name="tiny",
    encoder_dim=32,
    encoder_depth=3,
    encoder_heads=2,
    global_blocks=(1,),
    window_size=5,
    image_size=128,
    embed_dim=32,
    decoder_heads=4,
    decoder_mlp_dim=64,
)


def tiny_sam(seed: int = 0) -> Sam:
    """Build a tiny SAM with random values in every tensor, tables that start at zero included."""
    torch.manual_seed(seed)
    sam = build_from_config(TINY)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.normal_()
    return sam


def assert_same(state: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """Fail unless both have the same keys and bit-equal values."""
    assert state.keys() == other.keys()
    for key, tensor in state.items():
        assert torch.equal(tensor, other[key]), key
