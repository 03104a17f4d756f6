"""The named sizes of SAM, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass

from samft.errors import ConfigError, did_you_mean


@dataclass(frozen=True, kw_only=True, slots=True)
class VitEncoder:
    """The numbers of a plain vision transformer with windows, the encoder of SAM.

    Args:
        dim: Width of the tokens.
        depth: Number of blocks.
        heads: Attention heads of each block.
        global_blocks: 0-based indices of the blocks with global attention; the others use windows.
        window_size: Side of an attention window in tokens.
    """

    dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window_size: int = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyVitEncoder:
    """The numbers of a TinyViT, the hierarchical encoder of MobileSAM; one value per stage.

    The first stage is convolutional, at a quarter of the input size.

    Args:
        dims: Width of each stage.
        depths: Blocks of each stage.
        heads: Attention heads; that of the first stage counts for nothing.
        windows: Side of an attention window in cells; that of the first stage counts for nothing.
        strides: What the merge after each stage but the last divides the size of the map by.
        num_classes: Classes of the unused classifier in MobileSAM's files; 0 for none.
    """

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    windows: tuple[int, ...]
    strides: tuple[int, ...]
    num_classes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SamConfig:
    """All numbers that define one SAM architecture.

    Args:
        name: The name people type, such as `vit_b`.
        encoder: The image encoder.
        image_size: S, side of the padded input square in pixels.
        patch_size: Pixels between two cells of the image embedding.
        embed_dim: D, width of the image embedding, the prompt tokens and the decoder.
        decoder_depth: Two-way blocks of the mask decoder.
        decoder_heads: Attention heads of the mask decoder.
        decoder_mlp_dim: Hidden width of the mask decoder's MLPs.
        num_multimask: Masks returned for an ambiguous prompt, besides the single-mask token.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; the official model registry.
    """

    name: str
    encoder: VitEncoder | TinyVitEncoder
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
        encoder=VitEncoder(dim=768, depth=12, heads=12, global_blocks=(2, 5, 8, 11)),
    ),
    SamConfig(
        name="vit_l",
        encoder=VitEncoder(dim=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)),
    ),
    SamConfig(
        name="vit_h",
        encoder=VitEncoder(dim=1280, depth=32, heads=16, global_blocks=(7, 15, 23, 31)),
    ),
    SamConfig(
        name="vit_t",
        encoder=TinyVitEncoder(
            dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            heads=(2, 4, 5, 10),
            windows=(7, 7, 14, 7),
            strides=(2, 2, 1),
            num_classes=1000,
        ),
    ),
    SamConfig(
        name="vit_nano",
        encoder=TinyVitEncoder(
            dims=(32, 64, 128),
            depths=(1, 1, 4),
            heads=(1, 2, 4),
            windows=(1, 8, 8),
            strides=(2, 1),
        ),
        image_size=256,
        patch_size=8,
        embed_dim=128,
        decoder_heads=4,
        decoder_mlp_dim=256,
    ),
)
ARCHITECTURES: dict[str, SamConfig] = {config.name: config for config in _SIZES}
"""Every named size; `vit_t` is MobileSAM's, `vit_nano` is samft's own, for tests, the quick start
and laptops."""


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
