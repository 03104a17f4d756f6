"""More water between camera and scene, as attenuation and scattering would have it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.augmentation.planes import planes_of, with_planes
from samft.data.synthesis.optics import Image, underwater
from samft.data.synthesis.textures import gradient, grid, value_noise
from samft.types import Sample

JERLOV: Final = {
    "I": (0.235, 0.043, 0.018),
    "IA": (0.24, 0.048, 0.025),
    "IB": (0.245, 0.054, 0.033),
    "II": (0.26, 0.076, 0.062),
    "III": (0.295, 0.116, 0.116),
    "1C": (0.30, 0.13, 0.17),
    "3C": (0.33, 0.20, 0.29),
    "5C": (0.40, 0.31, 0.43),
    "7C": (0.48, 0.49, 0.71),
    "9C": (0.60, 0.78, 1.23),
}
"""Attenuation of red, green and blue (600, 525 and 475 nm) in ocean (I to III) and coastal water.

In 1 / metre. Source: Jerlov 1976, "Marine Optics", 2nd edition, table XXVII; the wavelengths are
those that Berman et al. 2017, "Diving into Haze-Lines", BMVC, take for the channels of a camera.
"""
_COARSE: Final = 48  # cells along each side: all that is computed of the water is smooth


class AddedWater:
    """Puts a random layer of water before an underwater photograph.

    The water is one of Jerlov's ten types. How far away the scene is varies smoothly over the
    image: a slope that mostly rises towards the top, where the horizon is, with hills in it. Light
    fades with distance by colour and gives way to the veil, the colour of the water itself: what is
    left of white light at a random depth, drawn some way towards the mean colour of the photograph,
    which is in its own water already. The camera then exposes for what is left of the light.

    Args:
        thinnest: Share of the light that still arrives from the farthest point in the clearest
            channel, at the least.
        thickest: The same, at the most; all between are equally likely.

    Source: the image formation of `samft.data.synthesis.optics.underwater`.
    """

    def __init__(self, *, thinnest: float = 0.55, thickest: float = 0.95) -> None:
        self.thinnest = thinnest
        self.thickest = thickest

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample as through more water; nothing moves."""
        rng = np.random.default_rng(seed)
        planes = planes_of(sample)
        planes = planes if len(planes) == 3 else planes * 3
        means = np.array([plane.mean() for plane in planes], np.float32)
        direct, scattered = self._water(rng, means)
        exposure = np.float32(_exposure(rng, means, direct, scattered))
        size = sample.size[::-1]
        seen = [
            plane * cv2.resize(direct[..., index] * exposure, size)
            + cv2.resize(scattered[..., index] * exposure, size)
            for index, plane in enumerate(planes)
        ]
        return with_planes(sample, seen)

    def _water(self, rng: Generator, means: NDArray[np.float32]) -> tuple[Image, Image]:
        """Return factor and summand for every channel, coarse, (h, w, 3) each."""
        types = list(JERLOV.values())
        base = np.array(types[int(rng.integers(len(types)))], np.float32)
        attenuation = base * rng.uniform(0.8, 1.25, 3).astype(np.float32)
        backscatter = attenuation * rng.uniform(0.7, 1.3, 3).astype(np.float32)
        metres = -np.log(rng.uniform(self.thinnest, self.thickest)) / float(attenuation.min())
        distance = _distance(rng) * np.float32(metres)
        veil = _veil(rng, attenuation, means)
        kinds = ((np.float32(1), np.zeros(3, np.float32)), (np.float32(0), veil))
        direct, scattered = (
            underwater(
                np.full((_COARSE, _COARSE, 3), level),
                distance,
                attenuation=attenuation,
                backscatter=backscatter,
                veil=colour,
            )
            for level, colour in kinds
        )
        return direct, scattered


def _distance(rng: Generator) -> NDArray[np.float32]:
    """Return how far away everything is, relative to the farthest, (h, w)."""
    upwards = (1 - grid(_COARSE)[1]) / 2
    slope = upwards if rng.random() < 0.7 else gradient(rng, _COARSE)
    hills = value_noise(rng, _COARSE, _COARSE / 3, octaves=2)
    weight = np.float32(rng.uniform(0.2, 0.7))
    nearest = np.float32(rng.uniform(0.2, 0.8))
    relief = (1 - weight) * slope + weight * hills
    return np.asarray(nearest + (1 - nearest) * relief, np.float32)


def _veil(
    rng: Generator, attenuation: NDArray[np.float32], means: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the colour of the water far away, (3,), 0 to 255."""
    depth = rng.uniform(0.5, 2.0) / float(np.median(attenuation))  # at which something is left
    left = np.exp(-attenuation * np.float32(min(depth, 15.0)))
    brightness = rng.uniform(70, 180)
    own = means * np.float32(brightness / max(float(means.max()), 1.0))
    mixed = rng.uniform(0.2, 0.8)
    veil = np.float32(brightness / left.max()) * left * np.float32(1 - mixed)
    return np.asarray(veil + own * np.float32(mixed), np.float32)


def _exposure(rng: Generator, means: NDArray[np.float32], direct: Image, scattered: Image) -> float:
    after = float((means * direct.mean((0, 1)) + scattered.mean((0, 1))).mean())
    full = float(means.mean()) / max(after, 1.0)
    return float(np.clip(full ** rng.uniform(0.5, 1.0), 0.6, 1.4))
