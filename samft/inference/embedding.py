"""From images of any size to image embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from samft.data.geometry import frame_for, pad, resize_image
from samft.models.sam import Sam
from samft.types import Frame


def embed_images(sam: Sam, images: Sequence[Tensor]) -> tuple[Tensor, tuple[Frame, ...]]:
    """Resize, pad and encode images in one batch.

    Args:
        sam: The model; the images are moved to its device.
        images: B images, (3, H, W) uint8 or float32, RGB, 0 to 255, each of its own size, on the
            CPU.

    Returns:
        Embeddings (B, D, h, w) and B frames.
    """
    side = sam.image_size
    frames = tuple(frame_for((image.shape[1], image.shape[2]), side) for image in images)
    inputs = torch.stack(
        [pad(resize_image(image, frame), side) for image, frame in zip(images, frames, strict=True)]
    )
    device = sam.pixel_mean.device
    sizes = torch.tensor([frame.input_size for frame in frames], device=device)
    return sam.encode_image(inputs.to(device), sizes), frames


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and every part back into its own mode afterwards.

    Parts are remembered one by one, because in training some may be frozen in evaluation mode.
    """
    training = [part for part in model.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
