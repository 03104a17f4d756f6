"""Small models with weights that matter, and images for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from parity.reference_models import TINY, randomise

from samft.export.tuned import TunedModel
from samft.models.config import config_for
from samft.models.registry import build_from_config
from samft.models.sam import Sam
from samft.prompts.presets import preset
from samft.prompts.protocol import PromptProtocol


def tiny_vit() -> Sam:
    """A plain vision transformer whose masks differ from point to point."""
    torch.manual_seed(1)  # before building: `randomise` leaves the decoder's matrices as they are
    sam = build_from_config(TINY)
    randomise(sam, seed=1)
    for name, parameter in sam.mask_decoder.named_parameters():
        if "attn" in name and parameter.ndim > 1:
            parameter.data *= 4
    sam.mask_decoder.iou_prediction_head.layers[-1].bias.data += 0.6
    return sam


def shallow_nano() -> Sam:
    """The nano model with one layer of every kind: each takes seconds to export."""
    config = config_for("vit_nano")
    encoder = replace(config.encoder, depths=(1, 1, 1))
    return build_from_config(replace(config, encoder=encoder, image_size=128, decoder_depth=1))


def model_of(sam: Sam, *, seed: int | None = None) -> TunedModel:
    """The model as it is exported; with a seed, with random weights."""
    if seed is not None:
        torch.manual_seed(seed)
        randomise(sam, seed=seed)
    protocol = PromptProtocol.of(preset("box_only"))
    return TunedModel.of(sam, protocol=protocol, licence="MIT", origin={"base_sha256": "ab"})


def picture(height: int, width: int, seed: int = 4) -> np.ndarray:
    """Rectangles in front of each other, (height, width, 3) uint8."""
    generator = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(12):
        y, x = generator.integers(0, (height, width))
        image[y : y + height // 3, x : x + width // 3] = generator.integers(0, 256, 3)
    return image
