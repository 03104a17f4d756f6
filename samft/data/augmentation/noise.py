"""Noise of detectors: constant, and that of counting photons."""

from __future__ import annotations

import numpy as np

from samft.data.augmentation.planes import change_planes
from samft.data.synthesis import optics
from samft.types import Sample


class GaussianNoise:
    """Adds noise of the same strength everywhere; grey images stay grey.

    Args:
        least: Smallest standard deviation, grey levels.
        most: Largest; all between are equally likely.
    """

    def __init__(self, *, least: float = 2.5, most: float = 10) -> None:
        self.least = least
        self.most = most

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample with noise, another in every channel that differs from the others."""
        rng = np.random.default_rng(seed)
        read = rng.uniform(self.least, self.most)
        return change_planes(sample, lambda plane: optics.sensor_noise(rng, plane, read=read))


class PhotonNoise:
    """Adds the noise of counting photons: its variance grows with the signal.

    Args:
        fewest: Photons that white stands for, at the least.
        most: At the most; log-uniform between.

    Source: Poisson statistics, whose deviation at a count of n is the root of n; see
        `samft.data.synthesis.optics.sensor_noise`, which takes it as Gaussian.
    """

    def __init__(self, *, fewest: float = 200, most: float = 3000) -> None:
        self.fewest = fewest
        self.most = most

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample with noise; channels are counted separately."""
        rng = np.random.default_rng(seed)
        photons = float(np.exp(rng.uniform(np.log(self.fewest), np.log(self.most))))
        shot = 255 / photons**0.5
        return change_planes(
            sample, lambda plane: optics.sensor_noise(rng, plane, read=0.0, shot=shot)
        )
