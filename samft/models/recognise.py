"""Say from names and shapes alone which model a state dict belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from samft.models.config import ARCHITECTURES

# Part of a key, and the family of models that has it; the first row that fits counts.
_FAMILIES: Final = (
    ("detector.", "SAM 3"),
    ("memory_attention.", "SAM 2"),
    ("memory_encoder.", "SAM 2"),
    ("image_encoder.trunk.", "SAM 2"),
    ("vision_encoder.backbone.", "SAM 2"),
    ("mask_decoder.hf_token.", "HQ-SAM"),
    ("mask_decoder.hq_token.", "HQ-SAM"),
    ("image_encoder.patch_embed.seq.", "MobileSAM"),
)
_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.")


def family_of(keys: Iterable[object]) -> str | None:
    """Name the relative of SAM whose weights have such keys.

    Args:
        keys: The keys of a state dict; anything but strings is passed over.

    Returns:
        Such as `MobileSAM`; `None` when the keys are SAM's own or no known relative's.
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
        dim: Width of the encoder.
        depth: Number of blocks.
        heads: Attention heads of each block.
        embed_dim: D, width of the image embedding.
        image_size: S, side of the input square in pixels.
    """

    dim: int
    depth: int
    heads: int
    embed_dim: int
    image_size: int

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> EncoderShape | None:
        """Read the numbers from official keys; `None` when a table they stand in is missing."""
        try:
            patch = state["image_encoder.patch_embed.proj.weight"]
            dim, patch_size = patch.shape[0], patch.shape[-1]
            head_dim = state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1]
            return cls(
                dim=dim,
                depth=1 + max(int(match[1]) for key in state if (match := _BLOCK.match(key))),
                heads=dim // head_dim,
                embed_dim=state["image_encoder.neck.0.weight"].shape[0],
                image_size=state["image_encoder.pos_embed"].shape[1] * patch_size,
            )
        except (KeyError, IndexError, ZeroDivisionError):
            return None

    @property
    def arch(self) -> str | None:
        """The architecture that has this encoder, at any input size; `None` for no known one."""
        own = (self.dim, self.depth, self.heads, self.embed_dim)
        for name, known in ARCHITECTURES.items():
            if own == (
                known.encoder_dim,
                known.encoder_depth,
                known.encoder_heads,
                known.embed_dim,
            ):
                return name
        return None
