"""What an augmentation is, and how several become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from samft.seeding import derive_seed
from samft.types import Sample

_COIN, _INSIDE = 0, 1  # independent streams of seeds


class Transform(Protocol):
    """Augments a sample; the same seed gives the same result."""

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return an augmented sample; objects that left the image keep their row, without pixels.

        Args:
            sample: A sample in the original frame; it is not changed.
            seed: Decides everything random.
        """
        ...


class Chain:
    """Applies transforms one after the other, each with a seed of its own.

    Args:
        transforms: In this order.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = tuple(transforms)

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the augmented sample."""
        for position, transform in enumerate(self.transforms):
            sample = transform(sample, derive_seed(position, seed))
        return sample


class Sometimes:
    """Applies a transform to a share of the samples.

    Args:
        transform: What to apply.
        share: 0 to 1.
    """

    def __init__(self, transform: Transform, *, share: float) -> None:
        self.transform = transform
        self.share = share

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return the sample, augmented or as it is."""
        draw = np.random.default_rng(derive_seed(_COIN, seed)).random()
        if draw >= self.share:
            return sample
        return self.transform(sample, derive_seed(_INSIDE, seed))
