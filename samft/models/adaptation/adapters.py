"""Bottleneck adapters in the blocks of the image encoder.

An adapter is a child of the layer that it adds to, and works from a hook on that layer: the names
of all other weights stay official.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.errors import ConfigError
from samft.models.adaptation.parts import chosen_blocks
from samft.models.adaptation.settings import AdapterSettings
from samft.models.matmul import Linear
from samft.models.sam import Sam
from samft.models.tiny_vit_blocks import NormMlp

_NAME = "adapter"
_ADAPTFORMER_SCALE = 0.1  # where the learned scale starts: the best fixed one of the paper
_MEDSA_SCALE = 0.5


class Bottleneck(nn.Module):
    """Narrow, bend, widen, scale; starts as zero.

    Args:
        dim: Width of input and output.
        hidden_dim: Width in between.
        bend: `relu` or `gelu`.
        scale: What the result is multiplied by.
        learned: Whether the scale is trained.
    """

    def __init__(
        self, dim: int, hidden_dim: int, *, bend: str, scale: float, learned: bool = False
    ) -> None:
        super().__init__()
        self.down = Linear(dim, hidden_dim)
        self.up = Linear(hidden_dim, dim)
        self.bend = bend
        self.scale: Tensor | float = nn.Parameter(torch.tensor(scale)) if learned else scale
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., C) for `x` (..., C)."""
        hidden = self.down(x)
        hidden = F.relu(hidden) if self.bend == "relu" else F.gelu(hidden)
        result: Tensor = self.up(hidden) * self.scale
        return result


def is_adapter(key: str) -> bool:
    """Whether a key of an adapted model's state dict belongs to a bottleneck adapter."""
    return f".{_NAME}." in key


def attach_adapters(sam: Sam, settings: AdapterSettings) -> None:
    """Put adapters into the blocks, in place; they start as no change at all.

    Args:
        sam: The model.
        settings: Kind, width and blocks.

    Raises:
        ConfigError: if the model has no such blocks, or none with attention among them.
    """
    blocks = [
        block.module
        for block in chosen_blocks(sam, settings.blocks, where="adapt.adapter.blocks")
        if hasattr(block.module, "attn")
    ]
    if not blocks:
        raise ConfigError(
            "the chosen blocks have no layers that adapters could sit in",
            where="adapt.adapter.blocks",
            found=settings.blocks,
            fix="choose blocks with attention; TinyViT's first stage has none",
        )
    for block in blocks:
        attention, mlp = block.get_submodule("attn"), block.get_submodule("mlp")
        if settings.kind == "adaptformer":
            beside = _bottleneck(attention, settings, bend="relu", scale=_ADAPTFORMER_SCALE)
        else:
            beside = _bottleneck(attention, settings, bend="gelu", scale=_MEDSA_SCALE)
            attention.add_module(_NAME, _bottleneck(attention, settings, bend="gelu", scale=1.0))
            attention.register_forward_hook(_after)
        mlp.add_module(_NAME, beside)
        mlp.register_forward_hook(_beside)


def _bottleneck(
    attention: nn.Module, settings: AdapterSettings, *, bend: str, scale: float
) -> Bottleneck:
    weight = cast(nn.Linear, attention.get_submodule("qkv")).weight
    dim = weight.shape[1]
    hidden_dim = settings.dim or max(1, round(dim * settings.ratio))
    made = Bottleneck(
        dim, hidden_dim, bend=bend, scale=scale, learned=settings.kind == "adaptformer"
    )
    return made.to(device=weight.device, dtype=weight.dtype)


def _after(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
    change: Tensor = layer.get_submodule(_NAME)(output)
    return output + change


def _beside(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    # Adapter and MLP see the same normalised tokens; TinyViT's MLP has the norm inside.
    x = layer.norm(inputs[0]) if isinstance(layer, NormMlp) else inputs[0]
    change: Tensor = layer.get_submodule(_NAME)(x)
    return output + change
