"""Images out of focus."""

from __future__ import annotations

import numpy as np

from samft.data.augmentation.planes import change_planes
from samft.data.synthesis import optics
from samft.types import Sample


class Defocus:
    """Blurs by a disc, the image of a point out of focus.

    Args:
        least: Smallest radius, pixels of the image.
        most: Largest radius; all between are equally likely.
    """

    def __init__(self, *, least: float = 0.8, most: float = 2.5) -> None:
        self.least = least
        self.most = most

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample out of focus; labels stay sharp."""
        radius = np.random.default_rng(seed).uniform(self.least, self.most)
        return change_planes(sample, lambda plane: optics.defocus(plane, radius))
