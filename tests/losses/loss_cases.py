"""Logits and targets to try losses on, and the losses that compare them."""

import torch

from samft.losses import (
    bce_loss,
    boundary_loss,
    cldice_loss,
    dice_loss,
    focal_loss,
    surface_loss,
    tversky_loss,
)
from samft.types import MaskOutput


def _balanced(*args, **options):
    return bce_loss(*args, balanced=True, **options)


def _focal_tversky(*args, **options):
    return tversky_loss(*args, gamma=4 / 3, **options)


LOSSES = {
    "focal": focal_loss,
    "dice": dice_loss,
    "bce": bce_loss,
    "balanced bce": _balanced,
    "tversky": tversky_loss,
    "focal tversky": _focal_tversky,
    "boundary": boundary_loss,
    "surface": surface_loss,
    "cldice": cldice_loss,
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def case(prompts=5, masks=3, side=6, *, seed=0, dtype=torch.float32):
    """Logits, hard targets, and the pixels that count."""
    random = seeded(seed)
    logits = 3 * torch.randn(prompts, masks, side, side, generator=random, dtype=dtype)
    targets = (torch.rand(prompts, 1, side, side, generator=random) < 0.4).to(dtype)
    valid = torch.rand(prompts, 1, side, side, generator=random) < 0.8
    return logits, targets, valid


def output_of(logits, *, seed=5):
    iou = torch.rand(logits.shape[:2], generator=seeded(seed)).to(logits)
    return MaskOutput(logits=logits.clone().requires_grad_(), iou=iou.requires_grad_())
