"""Images as if they had been taken at a lower resolution."""

from __future__ import annotations

import cv2
import numpy as np

from samft.data.augmentation.planes import change_planes
from samft.data.synthesis.optics import Image
from samft.types import Sample


class LowResolution:
    """Samples the image more coarsely and brings it back to its size; labels stay as they are.

    Args:
        lowest: Smallest factor on both sides; all up to 1 are equally likely.

    Source: Isensee et al. 2021, "nnU-Net", Nature Methods 18, supplementary note 4: factors 0.5 to
        1, for a quarter of the samples. Here the coarse pixels are means, as those of a scanner
        are.
    """

    def __init__(self, *, lowest: float = 0.5) -> None:
        self.lowest = lowest

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample with less detail."""
        factor = np.random.default_rng(seed).uniform(self.lowest, 1)
        height, width = sample.size
        coarse = max(1, round(width * factor)), max(1, round(height * factor))

        def lower(plane: Image) -> Image:
            small = cv2.resize(plane, coarse, interpolation=cv2.INTER_AREA)
            back: Image = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
            return back

        return change_planes(sample, lower)
