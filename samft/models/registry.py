"""Build a SAM by name."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from samft.models.channels import ChannelSettings
from samft.models.config import SamConfig, config_for
from samft.models.initialise import initialise_from_scratch
from samft.models.sam import Sam


def build_sam(
    arch: str = "vit_b",
    weights: str | Path | None = None,
    *,
    image_size: int | None = None,
    drop_path: float = 0.0,
    checkpoint_blocks: bool | tuple[int, int] = False,
    channels: ChannelSettings | None = None,
) -> Sam:
    """Build a SAM and load its weights.

    Args:
        arch: The size: `vit_b`, `vit_l`, `vit_h`, `vit_t` (MobileSAM) or `vit_nano`.
        weights: A weights file, a directory, or the name of published weights; `None` for random
            weights.
        image_size: Side of the input square in pixels, a multiple of the patch size; `None` for
            that of the architecture. Position tables of loaded weights are interpolated to it.
        drop_path: Rate of stochastic depth at the last encoder block, less in earlier ones.
        checkpoint_blocks: Encoder blocks that trade time for memory: all, none, or those from
            `first` to `last`, both included.
        channels: How images of other than three channels are mixed into three. Weights that come
            with a channel adapter bring it along.

    Raises:
        ConfigError: if the architecture is unknown or the input size does not fit it.
        CheckpointError: if the weights cannot be read or do not fit.
    """
    config = config_for(arch)
    if image_size is not None:
        config = replace(config, image_size=image_size)
    build = partial(
        build_from_config,
        config,
        drop_path=drop_path,
        checkpoint_blocks=checkpoint_blocks,
        channels=channels,
    )
    if weights is None:
        sam = build()
        initialise_from_scratch(sam)
        return sam
    from samft.models.weights import load_weights

    # Drawing random numbers for a ViT-H takes several seconds, only to overwrite them.
    with torch.device("meta"):
        sam = build()
    sam.to_empty(device="cpu")
    sam.reset_constants()
    load_weights(sam, weights)
    return sam


def build_from_config(
    config: SamConfig,
    *,
    drop_path: float = 0.0,
    checkpoint_blocks: bool | tuple[int, int] = False,
    channels: ChannelSettings | None = None,
) -> Sam:
    """Build a SAM of any size, with torch's default random weights."""
    return Sam(config, drop_path=drop_path, checkpoint_blocks=checkpoint_blocks, channels=channels)
