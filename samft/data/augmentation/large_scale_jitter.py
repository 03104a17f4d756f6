"""Large-scale jitter: the same image small in a corner or twice its size."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.random import Generator
from torch import Tensor

from samft.data.augmentation.crops import any_pixel, cut, start_around
from samft.data.geometry import frame_for, pad, resize_image, resize_layers
from samft.types import Frame, Sample

_TRIES: Final = 5  # scales; where all objects vanish in each of them, the last one is taken


class LargeScaleJitter:
    """Resizes an image by a random factor, then crops or pads it to a fixed side.

    The factor is relative to the image as the model would see it: at 1 the longest side is `side`.
    A larger image is cropped at a random place, a smaller one padded right and bottom with black
    background, as in `samft.data.geometry`, whose resizing this is: antialiased for the image,
    nearest for labels. Where an image has objects, at least a piece of one of them stays, unless
    all are too small for every scale of five draws.

    Args:
        side: Side of the square result, pixels: that of the model's input.
        low: Smallest factor.
        high: Largest factor; all between are equally likely.

    Source: Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
        Segmentation", CVPR, section 3: 0.1 to 2.0, the range that ViTDet trains with as well.
    """

    def __init__(self, side: int, *, low: float = 0.1, high: float = 2.0) -> None:
        self.side = side
        self.low = low
        self.high = high

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample at another scale, `side` x `side`; its spacing changes along."""
        rng = np.random.default_rng(seed)
        for _ in range(_TRIES):
            longest = max(1, round(self.side * rng.uniform(self.low, self.high)))
            frame = frame_for(sample.size, longest)
            layers = resize_layers(sample.layers, frame.input_size)
            corner, seen = self._corner(rng, layers)
            if seen or not sample.num_objects:
                break
        resized = sample.replace(
            image=resize_image(sample.image, frame),
            layers=layers,
            spacing_mm=_resized_spacing(sample.spacing_mm, frame),
        )
        if longest > self.side:
            resized = cut(resized, *corner, (self.side, self.side))
        return resized.replace(
            image=pad(resized.image, self.side), layers=pad(resized.layers, self.side)
        )

    def _corner(self, rng: Generator, layers: Tensor) -> tuple[tuple[int, int], bool]:
        """Return where to crop, and whether an object is seen there: if any has a pixel."""
        height, width = layers.shape[-2:]
        window = min(self.side, height), min(self.side, width)
        top = int(rng.integers(height - window[0] + 1))
        left = int(rng.integers(width - window[1] + 1))
        if bool((layers[:, top : top + window[0], left : left + window[1]] > 0).any()):
            return (top, left), True
        pixel = any_pixel(rng, (layers > 0).any(dim=0))
        if pixel is None:
            return (top, left), False
        row, column = pixel
        top = start_around(rng, (row, row), window=window[0], length=height)
        left = start_around(rng, (column, column), window=window[1], length=width)
        return (top, left), True


def _resized_spacing(
    spacing_mm: tuple[float, float] | None, frame: Frame
) -> tuple[float, float] | None:
    if spacing_mm is None:
        return None
    (height, width), (new_height, new_width) = frame.original_size, frame.input_size
    return spacing_mm[0] * height / new_height, spacing_mm[1] * width / new_width
