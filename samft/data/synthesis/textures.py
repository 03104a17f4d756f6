"""Fields of values from 0 to 1 that turn flat colours into surfaces."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[Any]  # Any: float32, but OpenCV promises no type of what it returns
"""(size, size) float32, about 0 to 1."""


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Field, Field]:
    """Return x and y of every pixel of a square image, -1 to 1, read only."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


@lru_cache(maxsize=8)
def pixels(size: int) -> tuple[Field, Field]:
    """Return column and row of every pixel of a square image, read only."""
    axis = np.arange(size, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def value_noise(
    rng: Generator, size: int, cell: float, *, octaves: int = 1, persistence: float = 0.5
) -> Field:
    """Return smooth noise: random values on a coarse grid, interpolated, in several octaves.

    Args:
        rng: Source of the values.
        size: Side of the field.
        cell: Distance between the values of the coarsest octave, pixels.
        octaves: How many grids, each twice as fine as the one before.
        persistence: Weight of an octave relative to the coarser one.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        side = int(np.clip(size / max(cell / 2**octave, 1.0), 2, size)) + 1
        values = rng.random((side, side), np.float32)
        smooth = cv2.INTER_CUBIC if octave == 0 else cv2.INTER_LINEAR  # the latter is faster
        total += persistence**octave * cv2.resize(values, (size, size), interpolation=smooth)
    return _unit(total)


def stripes(rng: Generator, size: int, period: float) -> Field:
    """Return wavy stripes in a random direction; `period` in pixels."""
    x, y = grid(size)
    angle = rng.uniform(0, np.pi)
    waves = size * np.pi / period
    phase = value_noise(rng, size, size / 3) * rng.uniform(0, 6)
    phase += x * np.float32(np.cos(angle) * waves) + y * np.float32(np.sin(angle) * waves)
    field: Field = np.sin(phase)
    gain = rng.uniform(0.5, 1.5)  # above 1 the crests are flat
    return np.clip(field * gain + (gain - rng.uniform(0, 0.6)), 0, 1)


def gradient(rng: Generator, size: int) -> Field:
    """Return a ramp in a random direction."""
    x, y = grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    return _unit(x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)))


def speckle(rng: Generator, size: int, cell: float) -> Field:
    """Return separate soft spots about `cell` pixels apart."""
    field = value_noise(rng, size, cell)
    threshold = rng.uniform(0.55, 0.75)
    return np.clip((field - np.float32(threshold)) * 8, 0, 1)


def grain(rng: Generator, size: int) -> Field:
    """Return fine grain, without correlation between pixels farther apart than two."""
    return _unit(cv2.blur(rng.random((size, size), np.float32), (2, 2)))


def any_texture(rng: Generator, size: int) -> Field:
    """Return a texture of a random kind and scale."""
    scale = size / 256 * float(np.exp(rng.uniform(np.log(3), np.log(70))))
    kind = rng.random()
    if kind < 0.45:
        return value_noise(rng, size, scale, octaves=int(rng.integers(1, 5)), persistence=0.6)
    if kind < 0.6:
        return stripes(rng, size, max(scale / 2, 4.0))
    if kind < 0.75:
        return speckle(rng, size, max(scale / 2, 3.0))
    if kind < 0.85:
        return grain(rng, size)
    return gradient(rng, size)


class TexturePool:
    """A few textures of one image, reused turned and mirrored, as drawing each anew costs time.

    Args:
        rng: Source of everything random.
        size: Side of the fields.
        count: How many different textures.
    """

    def __init__(self, rng: Generator, size: int, count: int = 3) -> None:
        self.fields = [any_texture(rng, size) for _ in range(count)]

    def draw(self, rng: Generator) -> Field:
        """Return one of the textures in one of eight orientations."""
        field = self.fields[int(rng.integers(len(self.fields)))]
        field = field.T if rng.random() < 0.5 else field
        field = field[::-1] if rng.random() < 0.5 else field
        return field[:, ::-1] if rng.random() < 0.5 else field


def _unit(field: Field) -> Field:
    low, high, _, _ = cv2.minMaxLoc(field)
    return (field - np.float32(low)) * np.float32(1 / max(high - low, 1e-6))
