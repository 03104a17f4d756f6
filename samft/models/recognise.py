"""Say from names and shapes alone which model a state dict belongs to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import isqrt
from typing import Final

from torch import Tensor

from samft.models.config import ARCHITECTURES, SamConfig, VitEncoder

# Part of a key, and the family of models that has it; the first row that fits counts.
_FAMILIES: Final = (
    ("detector.", "SAM 3"),
    ("memory_attention.", "SAM 2"),
    ("memory_encoder.", "SAM 2"),
    ("image_encoder.trunk.", "SAM 2"),
    ("vision_encoder.backbone.", "SAM 2"),
    ("mask_decoder.hf_token.", "HQ-SAM"),
    ("mask_decoder.hq_token.", "HQ-SAM"),
)
_VIT_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.")
_TINY_VIT_BLOCK = re.compile(r"image_encoder\.layers\.(\d+)\.blocks\.(\d+)\.")


def family_of(keys: Iterable[object]) -> str | None:
    """Name the relative of SAM whose weights have such keys.

    Args:
        keys: The keys of a state dict; anything but strings is passed over.

    Returns:
        Such as `HQ-SAM`; `None` when the keys are SAM's own or no known relative's.
    """
    names = [key for key in keys if isinstance(key, str)]
    for part, family in _FAMILIES:
        if any(part in name for name in names):
            return family
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderShape:
    """What the shapes of a state dict say about its image encoder.

    Args:
        family: `ViT` or `TinyViT`.
        dims: Width of each stage; a plain ViT is one stage.
        depths: Number of blocks of each stage.
        heads: Attention heads of each stage that has attention.
        windows: Side of the attention window of each stage that has one throughout.
        embed_dim: D, width of the image embedding.
        image_size: S, side of the input square in pixels, where a table says it. One architecture
            serves any size, so this does not count in comparisons.
    """

    family: str
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[int, ...] = ()
    embed_dim: int
    image_size: int | None = field(default=None, compare=False)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> EncoderShape | None:
        """Read the numbers from official keys; `None` when a table they stand in is missing."""
        for read in (_read_vit, _read_tiny_vit):
            # Names and shapes come from a file, so nothing about them is certain.
            with suppress(KeyError, IndexError, ZeroDivisionError, ValueError):
                return read(state)
        return None

    @classmethod
    def from_config(cls, config: SamConfig) -> EncoderShape:
        """Return the numbers of an architecture."""
        encoder = config.encoder
        if isinstance(encoder, VitEncoder):
            return cls(
                family="ViT",
                dims=(encoder.dim,),
                depths=(encoder.depth,),
                heads=(encoder.heads,),
                embed_dim=config.embed_dim,
                image_size=config.image_size,
            )
        return cls(
            family="TinyViT",
            dims=encoder.dims,
            depths=encoder.depths,
            heads=encoder.heads[1:],
            windows=encoder.windows[1:],
            embed_dim=config.embed_dim,
            image_size=config.image_size,
        )

    @property
    def arch(self) -> str | None:
        """The architecture that has this encoder, at any input size; `None` for no known one."""
        for name, config in ARCHITECTURES.items():
            if self == EncoderShape.from_config(config):
                return name
        return None

    def __str__(self) -> str:
        return (
            f"{self.family} of width {_listed(self.dims)}, depth {_listed(self.depths)}, "
            f"{_listed(self.heads)} heads, embedding {self.embed_dim}"
        )


def _listed(numbers: tuple[int, ...]) -> str:
    return "-".join(map(str, numbers))


def _read_vit(state: Mapping[str, Tensor]) -> EncoderShape:
    patch = state["image_encoder.patch_embed.proj.weight"]
    dim, patch_size = patch.shape[0], patch.shape[-1]
    head_dim = state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
    return EncoderShape(
        family="ViT",
        dims=(dim,),
        depths=(1 + max(int(match[1]) for key in state if (match := _VIT_BLOCK.match(key))),),
        heads=(dim // head_dim,),
        embed_dim=_embed_dim(state),
        image_size=state["image_encoder.pos_embed"].shape[1] * patch_size,
    )


def _read_tiny_vit(state: Mapping[str, Tensor]) -> EncoderShape:
    matches = (_TINY_VIT_BLOCK.match(key) for key in state)
    blocks = {(int(match[1]), int(match[2])) for match in matches if match}
    depths = Counter(stage for stage, _ in blocks)
    # By their count, not by their highest number: that is whatever the file says.
    layers = [f"image_encoder.layers.{index}." for index in range(len(depths))]
    widths = [
        state["image_encoder.patch_embed.seq.2.c.weight"],
        *(state[layer + "downsample.conv3.c.weight"] for layer in layers[:-1]),
    ]
    biases = [state[layer + "blocks.0.attn.attention_biases"].shape for layer in layers[1:]]
    return EncoderShape(
        family="TinyViT",
        dims=tuple(weight.shape[0] for weight in widths),
        depths=tuple(depths[index] for index in range(len(depths))),
        heads=tuple(shape[0] for shape in biases),
        windows=tuple(isqrt(shape[1]) for shape in biases),
        embed_dim=_embed_dim(state),
    )


def _embed_dim(state: Mapping[str, Tensor]) -> int:
    return state["image_encoder.neck.0.weight"].shape[0]
