"""The official predictor and mask generator around the weights of a samft model.

The package `segment_anything` wants torchvision for two functions. They are stood in for by what
torchvision itself does: Pillow's resize, and greedy suppression of boxes (samft's, which works on
whole tensors, so that the peer's time is not that of a slow replacement).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any
from unittest import mock

from PIL import Image
from torch import Tensor, nn

from benchmarks.measuring import torchvision_stand_ins
from samft.inference.nms import box_nms
from samft.models.config import SamConfig, VitEncoder
from samft.models.official import build_official
from samft.models.sam import Sam


def official_generator(sam: Sam, **settings: Any) -> Any:  # Any: the package has no types
    """Return the package's `SamAutomaticMaskGenerator` with the weights of a model.

    Args:
        sam: The model. Of an architecture that the package does not know (TinyViT), the image
            encoder is samft's and the prompt encoder and mask decoder are the package's.
        settings: Of the generator.
    """
    return import_generator()(official_model(sam), **settings)


def import_generator() -> Any:  # Any: the package has no types
    """Return the class `SamAutomaticMaskGenerator`."""
    stand_ins = torchvision_stand_ins(
        batched_nms=_batched_nms, resize=_resize, to_pil_image=Image.fromarray
    )
    with mock.patch.dict(sys.modules, stand_ins):
        from segment_anything.automatic_mask_generator import SamAutomaticMaskGenerator
    return SamAutomaticMaskGenerator


def official_model(sam: Sam) -> Any:  # Any: the package has no types
    """Return the package's model with the weights of `sam`, every key loaded strictly."""
    if isinstance(sam.config.encoder, VitEncoder):
        model = build_official(sam.config)
        model.load_state_dict(sam.state_dict())
        return model
    plain = build_official(_with_plain_encoder(sam))
    for name in ("prompt_encoder", "mask_decoder"):
        getattr(plain, name).load_state_dict(getattr(sam, name).state_dict())
    plain.image_encoder = _Encoder(sam)
    return plain


class _Encoder(nn.Module):
    """samft's image encoder with what the package asks of one."""

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.encoder = sam.image_encoder
        self.img_size = sam.image_size

    def forward(self, images: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(images)
        return encoded


def _with_plain_encoder(sam: Sam) -> SamConfig:
    smallest = VitEncoder(dim=16, depth=1, heads=1, global_blocks=(0,), window_size=4)
    return replace(sam.config, encoder=smallest)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    assert not idxs.any()  # the generator has one class
    return box_nms(boxes, scores, iou_threshold).to(boxes.device)
