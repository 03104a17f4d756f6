"""A stand-in for a SAM that answers a point with the bright region it lies in."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from samft.types import MaskOutput

STEEPNESS = 2.0  # logits per pixel of distance from the boundary


class BrightSam(nn.Module):
    """Knows images of 64 pixels exactly: its masks have one logit per pixel of theirs."""

    mask_threshold = 0.0
    num_channels = 3
    image_size = 256
    trim_padding = False
    config = SimpleNamespace(patch_size=16)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("pixel_mean", torch.zeros(3))
        self.asked = []

    def encode_image(self, images, sizes):
        # The grid of an embedding, and everything that `decode` looks at.
        self.grey = F.avg_pool2d(images.float().mean(dim=1, keepdim=True), 4)[0, 0].numpy()
        return torch.zeros(1, 1, 16, 16)

    def decode(self, embedding, prompts, *, multimask):
        self.asked.append((len(prompts.points), multimask))
        regions, _ = ndimage.label(self.grey > 127)
        places = (prompts.points[:, 0] / 4).round().long().clamp(0, 63)
        answers = [regions == (regions[y, x] or -1) for x, y in places.tolist()]
        logits = torch.from_numpy(np.stack([signed_distance(mask) for mask in answers])).float()
        masks = 3 if multimask else 1
        return MaskOutput(
            logits=STEEPNESS * logits[:, None].expand(-1, masks, -1, -1),
            iou=torch.tensor([0.9, 0.8, 0.7])[:masks].expand(len(answers), -1),
        )


def signed_distance(mask):
    """Return how far inside a mask each pixel is, from its boundary between two pixels."""
    if not mask.any():
        return np.full(mask.shape, -20.0)
    inside, outside = (ndimage.distance_transform_edt(each) for each in (mask, ~mask))
    return np.where(mask, inside - 0.5, 0.5 - outside)


def drawn_objects(seed=0):
    """Draw (64, 64, 3) uint8 with three bright objects of a noisy surface, and their labels."""
    y, x = np.mgrid[:64, :64]
    labels = np.zeros((64, 64), np.int32)
    labels[(y - 16) ** 2 + (x - 18) ** 2 < 10**2] = 1
    labels[38:58, 8:30] = 2
    labels[(y - 40) ** 2 + (x - 47) ** 2 < 12**2] = 3
    noise = np.random.default_rng(seed).integers(0, 100, labels.shape)
    grey = np.where(labels > 0, 150 + noise, 10 + noise).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), labels
