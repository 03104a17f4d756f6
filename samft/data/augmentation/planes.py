"""The channels of an image as float planes and back, for transforms that change values only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from samft.data.synthesis.optics import Image, to_uint8
from samft.types import Sample


def distinct(image: Tensor) -> Tensor:
    """Return the channels (C, H, W) that differ: of grey images, three equal ones, the first.

    What is done to it, noise for example, must be the same in all three, and takes less time.
    """
    grey = image.shape[0] == 3 and torch.equal(image[0], image[1]) and torch.equal(*image[1:])
    return image[:1] if grey else image


def planes_of(sample: Sample) -> list[Image]:
    """Return the `distinct` channels as new arrays (H, W) float32, 0 to 255."""
    return [plane.numpy().astype(np.float32) for plane in distinct(sample.image)]


def with_planes(sample: Sample, planes: Sequence[Image]) -> Sample:
    """Return the sample with other values, clipped to 0..255, in the type it has.

    Args:
        sample: Where everything else comes from.
        planes: (H, W) float32 each; one for all channels, or one per channel.
    """
    whole = sample.image.dtype == torch.uint8
    values = [to_uint8(plane) if whole else np.clip(plane, 0, 255) for plane in planes]
    stacked = torch.from_numpy(np.stack(values))
    return sample.replace(image=stacked.expand(sample.image.shape).contiguous())


def change_planes(sample: Sample, change: Callable[[Image], Image]) -> Sample:
    """Return the sample with `change` applied to each channel, once where it is grey."""
    return with_planes(sample, [change(plane) for plane in planes_of(sample)])
