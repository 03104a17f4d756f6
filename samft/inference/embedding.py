"""From images of any size to image embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from samft.data.geometry import frame_for, pad, resize_image
from samft.data.trimming import trimmed_size
from samft.models.sam import Sam
from samft.types import Frame


def embed_images(
    sam: Sam, images: Sequence[Tensor], *, size: tuple[int, int] | None = None
) -> tuple[Tensor, tuple[Frame, ...]]:
    """Resize, pad and encode images in one batch.

    Args:
        sam: The model; the images are moved to its device.
        images: B images, (C, H, W) uint8 or float32, 0 to 255, each of its own size, on the CPU.
        size: (height, width) to pad to, which hold all images; default: `padded_size` of them.

    Returns:
        Embeddings (B, D, h, w) and B frames.
    """
    side = sam.image_size
    frames = tuple(frame_for((image.shape[1], image.shape[2]), side) for image in images)
    height, width = size or padded_size(sam, frames)
    inputs = torch.stack(
        [
            pad(resize_image(image, frame), side)[:, :height, :width]
            for image, frame in zip(images, frames, strict=True)
        ]
    )
    device = sam.pixel_mean.device
    sizes = torch.tensor([frame.input_size for frame in frames], device=device)
    return sam.encode_image(inputs.to(device), sizes), frames


def padded_size(sam: Sam, frames: Iterable[Frame]) -> tuple[int, int]:
    """Return the (height, width) that a model wants images of these frames padded to."""
    if sam.trim_padding:
        return trimmed_size(frames, sam.config.patch_size)
    return sam.image_size, sam.image_size


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
