"""Scenes without a domain: shapes of every kind, photograph-like figures, thin strokes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.random import Generator

from samft.data.synthesis import optics
from samft.data.synthesis.canvas import (
    LabelLayers,
    darken,
    object_colours,
    paint,
    shade_round,
    warp,
)
from samft.data.synthesis.figures import Part, boulder, decorated, fish, limbed, plant, stacked
from samft.data.synthesis.optics import Image
from samft.data.synthesis.painting import Palette, paint_figure
from samft.data.synthesis.shapes import FAMILIES, SOLID, THIN, Points, Region, region_of
from samft.data.synthesis.textures import TexturePool, any_texture, gradient, value_noise

Make = Callable[[Generator, Points, float], list[Part]]
_FIGURES: Final[Sequence[Make]] = (limbed, stacked, decorated, plant, boulder, fish)
_ODDS: Final = (0.25, 0.25, 0.2, 0.1, 0.12, 0.08)


def shapes(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """Shapes of all families over each other, textured, from barely to plainly visible."""
    families = [*SOLID, "ring"] if rng.random() < 0.8 else [*SOLID, *THIN]
    if rng.random() < 0.4:  # a crowd of one kind
        families = [str(rng.choice(families))]
    return _scattered(rng, size, families, smallest=5)


def strokes(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """Vessels, writing, rings and curved lines."""
    families = list(THIN) if rng.random() < 0.5 else [str(rng.choice(THIN))]
    return _scattered(rng, size, families, smallest=12)


def photo(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """Figures of several parts before a background of several textured regions."""
    grey = rng.random() < 0.12
    pool = TexturePool(rng, size)
    image = _background(rng, size, pool, regions=int(rng.integers(2, 7)), grey=grey)
    for _ in range(int(rng.integers(0, 12)) if rng.random() < 0.6 else 0):
        _figure(rng, image, None, pool, reach=(0.02, 0.1), grey=grey)
    if rng.random() < 0.35:  # the lens is focused on what is in front
        image = optics.blur(image, size / 256 * rng.uniform(1, 4))
    layers = LabelLayers(size)
    if rng.random() < 0.5:  # nothing in nature is smooth
        cell = size / 256 * float(np.exp(rng.uniform(np.log(6), np.log(60))))
        rough = value_noise(rng, size, cell, octaves=4, persistence=0.7) - np.float32(0.5)
        optics.dim(image, 1 + np.float32(rng.uniform(0.2, 1)) * rough)
    few = rng.random() < 0.6
    for _ in range(int(rng.integers(1, 4 if few else 9))):
        reach = (0.12, 0.48) if few else (0.05, 0.2)
        _figure(rng, image, layers, pool, reach=reach, grey=grey)
    if rng.random() < 0.6:
        image = _bent(rng, image, layers)
    if rng.random() < 0.4:
        rough = value_noise(rng, size, size / 40, octaves=3, persistence=0.7) - np.float32(0.5)
        optics.dim(image, 1 + np.float32(rng.uniform(0.1, 0.6)) * rough)
    if grey:
        image = np.ascontiguousarray(image[..., 0])
    return optics.camera(rng, image, noise=0.4), layers


def _scattered(
    rng: Generator, size: int, families: Sequence[str], *, smallest: float
) -> tuple[Image, LabelLayers]:
    grey = rng.random() < 0.4
    pool = TexturePool(rng, size)
    image = _background(rng, size, pool, regions=int(rng.choice([1, 1, 1, 2, 4])), grey=grey)
    layers = LabelLayers(size)
    unit = size / 256
    typical = float(np.exp(rng.uniform(np.log(smallest), np.log(80))))
    spread = rng.uniform(0.05, 0.8)
    count = int(np.clip(rng.uniform(0.05, 0.7) * 256**2 / (4 * typical**2), 2, 40))
    shadow = rng.uniform(0.2, 0.6) if rng.random() < 0.25 else 0.0
    rounded = rng.random() < 0.35
    same = Palette(rng, pool, grey=grey) if rng.random() < 0.4 else None
    for _ in range(count):
        centre = (rng.uniform(-0.02, 1.02, 2) * size).astype(np.float32)
        radius = unit * float(np.clip(typical * np.exp(rng.normal(0, spread)), smallest, 110))
        shape = FAMILIES[families[int(rng.integers(len(families)))]](rng, centre, radius)
        region = region_of(shape, size, margin=round(6 * unit) if shadow else 0)
        if region is None or not region.mask.any():
            continue
        if shadow:
            darken(image, _moved(region, round(3 * unit), size), shadow, 2 * unit)
        palette = same or Palette(rng, pool, grey=grey)
        paint(image, region, *palette.tone(0, image, region))
        if rounded:
            shade_round(rng, image, region, rng.uniform(0.1, 0.6))
        layers.add(region)
    if rng.random() < 0.4:
        image = _bent(rng, image, layers)
    if grey:
        image = np.ascontiguousarray(image[..., 0])
    return optics.camera(rng, image), layers


def _bent(rng: Generator, image: Image, layers: LabelLayers) -> Image:
    unit = layers.size / 256
    return warp(
        rng, image, layers, reach=unit * rng.uniform(3, 14), cell=unit * rng.uniform(25, 90)
    )


def _moved(region: Region, step: int, size: int) -> Region:
    """Return the region shifted right and down as far as its patch allows."""
    rows, columns = region.box
    down, right = min(step, size - rows.stop), min(step, size - columns.stop)
    return Region(
        box=(
            slice(rows.start + down, rows.stop + down),
            slice(columns.start + right, columns.stop + right),
        ),
        mask=region.mask,
    )


def _background(rng: Generator, size: int, pool: TexturePool, *, regions: int, grey: bool) -> Image:
    """Return a ground of one or several textured regions with winding borders."""
    image = np.empty((size, size, 3), np.float32)
    full = Region(box=(slice(0, size), slice(0, size)), mask=np.ones((size, size), np.bool_))
    base = np.full(3, rng.uniform(10, 245), np.float32)
    if not grey:
        base = np.clip(base + rng.normal(0, 45, 3), 0, 255).astype(np.float32)
    tilt = np.ones(3) if grey else 1 + rng.normal(0, 0.4, 3)
    spread = float(np.exp(rng.uniform(np.log(2), np.log(110)))) * rng.choice([-1, 1])
    high = np.clip(base + spread * tilt, 0, 255).astype(np.float32)
    paint(image, full, base, high, any_texture(rng, size))
    if regions == 1:
        return image
    winding = rng.uniform(0.05, 0.8)
    noise = value_noise(rng, size, size * rng.uniform(0.2, 0.8), octaves=int(rng.integers(2, 6)))
    noise *= np.float32(winding)
    for _ in range(regions - 1):
        noise = noise.T[::-1]
        edge = gradient(rng, size) + noise > np.float32(rng.uniform(0.4, 0.8) + winding / 2)
        region = Region(box=full.box, mask=np.ascontiguousarray(edge))
        if region.mask.any():
            colours = object_colours(rng, image, region, grey=grey)
            paint(image, region, *colours, pool.draw(rng))
    return image


def _figure(
    rng: Generator,
    image: Image,
    layers: LabelLayers | None,
    pool: TexturePool,
    *,
    reach: tuple[float, float],
    grey: bool,
) -> None:
    size = image.shape[0]
    make = _FIGURES[int(rng.choice(len(_FIGURES), p=_ODDS))]
    centre = (rng.uniform(0.1, 0.9, 2) * size).astype(np.float32)
    radius = size * float(np.exp(rng.uniform(np.log(reach[0]), np.log(reach[1]))))
    paint_figure(
        rng, image, make(rng, centre, radius), Palette(rng, pool, grey=grey), layers=layers
    )
