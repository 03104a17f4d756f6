"""Under water: sea floor, rocks, corals, fish and divers, seen through water."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.synthesis import optics
from samft.data.synthesis.canvas import LabelLayers, paint, warp
from samft.data.synthesis.figures import boulder, fish, limbed, plant, stacked
from samft.data.synthesis.optics import Image
from samft.data.synthesis.painting import Palette, paint_figure
from samft.data.synthesis.shapes import Region
from samft.data.synthesis.textures import TexturePool, gradient, grid, value_noise

_FAR: Final = 1e3  # metres: nothing but water is seen
_KINDS: Final = (fish, boulder, plant, limbed, stacked)
_ODDS: Final = ((0.7, 0.1, 0.1, 0.1, 0.0), (0.2, 0.35, 0.35, 0.05, 0.05), (0.3, 0.2, 0.2, 0.2, 0.1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Water:
    """What a kind of water does to light, see `samft.data.synthesis.optics.underwater`.

    Args:
        attenuation: (3,), 1 / metre.
        backscatter: (3,), 1 / metre.
        veil: (3,), 0 to 255.
    """

    attenuation: NDArray[np.float32]
    backscatter: NDArray[np.float32]
    veil: NDArray[np.float32]


def underwater(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """Things at several distances on the sea floor or in the open, faded by the water between."""
    water = _water(rng)
    image = np.zeros((size, size, 3), np.float32)
    distance = np.full((size, size), _FAR, np.float32)
    pool = TexturePool(rng, size)
    layers = LabelLayers(size)
    if rng.random() < 0.7:
        _floor(rng, image, distance, layers, pool)
    if rng.random() < 0.35:
        _reef(rng, image, distance, layers, pool)
    # The channel that is lost least decides how far one can see.
    clearest = float(water.attenuation.min())
    seen = np.sort(rng.uniform(0.35, 0.97, int(rng.integers(1, 10))))
    odds = _ODDS[int(rng.integers(len(_ODDS)))]
    for transmission in seen:  # the farthest first
        metres = -float(np.log(transmission)) / clearest
        _thing(rng, image, distance, layers, pool, metres, odds=odds)
    if rng.random() < 0.7:  # everything that grows there is rough
        roughness = np.float32(rng.uniform(0.2, 1.0))
        cell = size / 256 * rng.uniform(8, 40)
        rough = value_noise(rng, size, cell, octaves=4, persistence=0.7)
        optics.dim(image, 1 + roughness * (rough - np.float32(0.5)))
    if rng.random() < 0.5:
        image, distance = _bent(rng, image, distance, layers)
    veil = water.veil * _light(rng, size)[..., None]
    image = optics.underwater(
        image,
        distance,
        attenuation=water.attenuation,
        backscatter=water.backscatter,
        veil=veil,
    )
    _particles(rng, image)
    if rng.random() < 0.25:  # somebody corrected the colours
        means = image.reshape(-1, 3).mean(0)
        image *= (means.mean() / np.maximum(means, 20)) ** np.float32(rng.uniform(0.3, 1))
    return optics.camera(rng, image, noise=0.6), layers


def _water(rng: Generator) -> Water:
    """Return clear blue, green coastal, or turbid water; red is lost first in all of them."""
    kind = int(rng.integers(3))
    base = np.array([[0.4, 0.09, 0.05], [0.45, 0.10, 0.16], [0.7, 0.35, 0.4]])[kind]
    veil = np.array([[10, 70, 190], [25, 170, 150], [60, 140, 110]])[kind]
    veil = np.clip(veil * rng.uniform(0.35, 1.25) + rng.normal(0, 18, 3), 4, 250)
    attenuation = base * rng.uniform(0.7, 1.4, 3)
    return Water(
        attenuation=attenuation.astype(np.float32),
        backscatter=(attenuation * rng.uniform(0.5, 1.5, 3)).astype(np.float32),
        veil=veil.astype(np.float32),
    )


def _floor(
    rng: Generator,
    image: Image,
    distance: NDArray[np.float32],
    layers: LabelLayers,
    pool: TexturePool,
) -> None:
    size = image.shape[0]
    _, y = grid(size)
    horizon = rng.uniform(-0.6, 0.9) + 0.25 * (value_noise(rng, size, size / 4, octaves=2) - 0.5)
    below = y > horizon
    nearness = np.clip((y - horizon) / (1 - np.minimum(horizon, 0.95)), 0.03, 1)
    distance[below] = (np.float32(rng.uniform(0.8, 3)) / nearness)[below]
    low = np.clip(rng.uniform(30, 150) + rng.normal(0, 15, 3), 0, 255).astype(np.float32)
    high = low + (rng.uniform(15, 110) + rng.normal(0, 10, 3)).astype(np.float32)
    region = Region(box=(slice(0, size), slice(0, size)), mask=below)
    paint(image, region, low, high, pool.draw(rng))
    if rng.random() < 0.5:
        layers.add(region)


def _reef(
    rng: Generator,
    image: Image,
    distance: NDArray[np.float32],
    layers: LabelLayers,
    pool: TexturePool,
) -> None:
    """Put a wall of rock or coral into one side of the image, in front of the floor."""
    size = image.shape[0]
    slope = gradient(rng, size) + rng.uniform(0.1, 0.5) * value_noise(
        rng, size, size / 3, octaves=5, persistence=0.6
    )
    mask = slope > np.float32(rng.uniform(0.8, 1.2))
    if not mask.any():
        return
    region = Region(box=(slice(0, size), slice(0, size)), mask=mask)
    low = rng.uniform(5, 110, 3).astype(np.float32)
    high = low + rng.uniform(20, 130, 3).astype(np.float32)
    paint(image, region, low, high, pool.draw(rng))
    distance[mask] = np.float32(rng.uniform(1, 5))
    layers.add(region)


def _bent(
    rng: Generator, image: Image, distance: NDArray[np.float32], layers: LabelLayers
) -> tuple[Image, NDArray[np.float32]]:
    unit = layers.size / 256
    both = cv2.merge([image, distance])
    both = warp(rng, both, layers, reach=unit * rng.uniform(3, 12), cell=unit * rng.uniform(25, 80))
    return np.ascontiguousarray(both[..., :3]), np.ascontiguousarray(both[..., 3])


def _thing(
    rng: Generator,
    image: Image,
    distance: NDArray[np.float32],
    layers: LabelLayers,
    pool: TexturePool,
    metres: float,
    *,
    odds: tuple[float, ...],
) -> None:
    size = image.shape[0]
    make = _KINDS[int(rng.choice(len(_KINDS), p=odds))]
    near = np.clip(3 / max(metres, 0.3), 0.5, 2)
    radius = size * 0.06 * near * float(np.exp(rng.uniform(-0.5, 1.0)))
    centre = (rng.uniform(0.02, 0.98, 2) * size).astype(np.float32)
    if make in (boulder, plant):
        centre[1] = size * rng.uniform(0.5, 1.0)
    parts = make(rng, centre, float(np.clip(radius, size * 0.04, size * 0.45)))
    palette = Palette(rng, pool, low=rng.uniform(5, 200, 3).astype(np.float32))
    region = paint_figure(rng, image, parts, palette, layers=layers, parts_layer=None)
    if region is not None:
        distance[region.box][region.mask] = metres


def _light(rng: Generator, size: int) -> Image:
    """Return how bright the water is: brighter towards the surface or a lamp."""
    x, y = grid(size)
    fall = rng.uniform(0, 0.6)
    light = 1 - np.float32(fall) * (y + 1) / 2
    if rng.random() < 0.3:
        at = rng.uniform(-1, 1, 2).astype(np.float32)
        light += np.float32(rng.uniform(0.1, 0.6)) * np.exp(
            -3 * ((x - at[0]) ** 2 + (y - at[1]) ** 2)
        )
    return light.astype(np.float32)


def _particles(rng: Generator, image: Image) -> None:
    if rng.random() < 0.5:
        return
    size = image.shape[0]
    count = int(rng.integers(5, 80))
    rows, columns = rng.integers(0, size, (2, count))
    image[rows, columns] += rng.uniform(10, 90, (count, 1)).astype(np.float32)
