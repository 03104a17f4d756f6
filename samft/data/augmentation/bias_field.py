"""Smooth brightness over the image, as the coils of an MR scanner or a lamp cause it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from samft.data.augmentation.planes import planes_of, with_planes
from samft.data.synthesis.optics import Image
from samft.types import Sample

_ORDER: Final = 3
_WHITE: Final = 99.5  # percentile, as of volumes without a window
_ENOUGH: Final = 256  # rows and columns to take it from
_COARSE: Final = 32  # values along each side of a field, which has no more than three bends


class BiasField:
    """Multiplies the image by the exponential of a random polynomial of third order.

    The field is the same in every channel. Then the image is scaled such that its brightest pixels
    are as bright as they were: values are brought to 0..255 when a file is read, and that would
    take the field into account.

    Args:
        strength: Each coefficient is drawn uniformly from minus to plus this number, for x and y
            that run from -1 to 1.

    Source: Van Leemput et al. 1999, "Automated model-based bias field correction of MR images of
        the brain", IEEE TMI 18(10), for the polynomial in the logarithm; `RandomBiasField` of
        TorchIO (Pérez-García et al. 2021) draws coefficients up to 0.5.
    """

    def __init__(self, *, strength: float = 0.25) -> None:
        self.strength = strength

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample under uneven light; nothing moves."""
        field = self.field(np.random.default_rng(seed), sample.size)
        planes = planes_of(sample)
        changed = [plane * field for plane in planes]
        scale = np.float32(_brightest(planes) / max(_brightest(changed), 1.0))
        return with_planes(sample, [plane * scale for plane in changed])

    def field(self, rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
        """Draw a field, `size` (height, width)."""
        axis = np.linspace(-1, 1, _COARSE)
        powers = [axis**power for power in range(_ORDER + 1)]
        logarithm = np.zeros((_COARSE, _COARSE))
        for down in range(_ORDER + 1):
            for right in range(_ORDER + 1 - down):
                coefficient = rng.uniform(-self.strength, self.strength)
                logarithm += coefficient * np.outer(powers[down], powers[right])
        coarse = np.exp(logarithm).astype(np.float32)
        return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def _brightest(planes: Sequence[Image]) -> float:
    down, right = (max(1, length // _ENOUGH) for length in planes[0].shape)
    few = [plane[::down, ::right] for plane in planes]
    return float(max(np.percentile(plane, _WHITE) for plane in few))
