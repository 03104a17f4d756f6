"""The named sizes of SAM, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from samft.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class SamConfig:
    """All numbers that define one SAM architecture.

    Args:
        name: The name people type, such as `vit_b`.
        encoder_dim: Width of the image encoder.
        encoder_depth: Number of encoder blocks.
        encoder_heads: Attention heads of each encoder block.
        global_blocks: 0-based indices of the blocks with global attention; the others use windows.
        window_size: Side of an attention window in tokens.
        image_size: S, side of the padded input square in pixels.
        patch_size: Side of a patch in pixels.
        embed_dim: D, width of the image embedding, the prompt tokens and the decoder.
        decoder_depth: Two-way blocks of the mask decoder.
        decoder_heads: Attention heads of the mask decoder.
        decoder_mlp_dim: Hidden width of the mask decoder's MLPs.
        num_multimask: Masks returned for an ambiguous prompt, besides the single-mask token.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; the official model registry.
    """

    name: str
    encoder_dim: int
    encoder_depth: int
    encoder_heads: int
    global_blocks: tuple[int, ...]
    window_size: int = 14
    image_size: int = 1024
    patch_size: int = 16
    embed_dim: int = 256
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    num_multimask: int = 3

    @property
    def grid_size(self) -> int:
        """Side (h = w) of the image embedding in tokens."""
        return self.image_size // self.patch_size


_SIZES = (
    SamConfig(
        name="vit_b",
        encoder_dim=768,
        encoder_depth=12,
        encoder_heads=12,
        global_blocks=(2, 5, 8, 11),
    ),
    SamConfig(
        name="vit_l",
        encoder_dim=1024,
        encoder_depth=24,
        encoder_heads=16,
        global_blocks=(5, 11, 17, 23),
    ),
    SamConfig(
        name="vit_h",
        encoder_dim=1280,
        encoder_depth=32,
        encoder_heads=16,
        global_blocks=(7, 15, 23, 31),
    ),
    SamConfig(
        name="vit_nano",
        encoder_dim=144,
        encoder_depth=6,
        encoder_heads=4,
        global_blocks=(2, 5),
        window_size=8,
        image_size=256,
        embed_dim=128,
        decoder_mlp_dim=256,
    ),
)
ARCHITECTURES: dict[str, SamConfig] = {config.name: config for config in _SIZES}
"""Every named size; `vit_nano` is samft's own, for tests, the quick start and laptops."""


def config_for(arch: str) -> SamConfig:
    """Return the named size.

    Raises:
        ConfigError: if the name is unknown.
    """
    if arch not in ARCHITECTURES:
        raise ConfigError(
            f"unknown architecture {arch!r}", where="arch", fix=did_you_mean(arch, ARCHITECTURES)
        )
    return ARCHITECTURES[arch]
