"""A U-Net that answers what a test wants, and images to ask it about."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samft.data.collate import collate
from samft.evaluation.unet.module import UNetModule
from samft.types import SamBatch, Sample


class PaintedNet(nn.Module):
    """Answers with the image's own channels: above 128 is yes."""

    def __init__(self, shape) -> None:
        super().__init__()
        self.shape = shape
        self.any = nn.Parameter(torch.zeros(1))
        self.calls = 0

    def forward(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        self.calls += 1
        assert images.shape[-2:] == tuple(input_sizes[0].tolist())
        return (images.float() - 128) / 16


def painted_module(*class_names: str, image_size: int = 64) -> UNetModule:
    """Return a module whose answer is painted into the image: a channel per class, and borders."""
    module = UNetModule(len(class_names) + 1, class_names, image_size, filters=4)
    module.net = PaintedNet(module.shape)
    return module


def sample_of(
    channels: list[NDArray[np.bool_]],
    labels: NDArray[np.int32],
    classes: list[int],
    name: str = "a",
) -> Sample:
    """Return a sample whose channels are masks painted in white."""
    image = torch.from_numpy(np.stack(channels)).to(torch.uint8) * 255
    layers = torch.from_numpy(labels.astype(np.int32))
    return Sample(
        image=image,
        layers=layers if layers.ndim == 3 else layers[None],
        object_layer=torch.zeros(len(classes), dtype=torch.int64),
        object_class=torch.tensor(classes, dtype=torch.int64),
        sample_id=name,
        case_id=name,
    )


def batch_of(*samples: Sample, image_size: int = 64) -> SamBatch:
    """Return a batch as evaluation loaders make it."""
    return collate(list(samples), image_size=image_size, keep_samples=True)
