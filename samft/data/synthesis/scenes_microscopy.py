"""Cells under a microscope: fluorescence, stained and phase-contrast bright field, tissue."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.synthesis import optics
from samft.data.synthesis.canvas import LabelLayers
from samft.data.synthesis.cells import Cells, annotation_margin, borders, depth_of, draw_cells
from samft.data.synthesis.optics import Image
from samft.data.synthesis.shapes import fill_outline, radial_outlines
from samft.data.synthesis.textures import pixels, value_noise

_HAEMATOXYLIN: Final = np.array([0.65, 0.70, 0.29], np.float32)
_EOSIN: Final = np.array([0.07, 0.99, 0.11], np.float32)
"""Optical density of the stains per channel. Source: Ruifrok and Johnston 2001, table 1."""


def fluorescence(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """Bright nuclei of one typical size on a dark ground, often faint, touching or blurred."""
    cells = draw_cells(rng, size, smallest=2.5, largest=64, most=240)
    typical = float(np.median(cells.radii))
    brightness = _brightness(rng, cells)
    signal = cells.per_cell(brightness) * _chromatin(rng, cells, size)
    if rng.random() < 0.35:
        signal += _overlaps(cells, brightness) * np.float32(rng.uniform(0.2, 0.8))
    if rng.random() < 0.3:  # some nuclei out of focus
        soft = signal * cells.per_cell(rng.random(cells.count) < rng.uniform(0.1, 0.6))
        signal += optics.blur(soft, typical * rng.uniform(0.08, 0.3)) - soft
    if rng.random() < 0.5:  # light from above and below the focal plane
        signal += optics.blur(signal, typical * rng.uniform(0.6, 2.5)) * rng.uniform(0.02, 0.3)
    _debris(rng, signal)
    signal = optics.blur(signal, size / 256 * rng.uniform(0.5, 0.7 + 0.02 * typical))
    if rng.random() < 0.4:
        signal *= optics.uneven_light(rng, size, rng.uniform(0.2, 0.6))
    peak = float(np.exp(rng.uniform(np.log(16), np.log(230))))
    ground = rng.choice([0.03, 0.15, 0.5], p=[0.5, 0.35, 0.15]) * peak * rng.uniform(0.2, 1.5)
    image = signal * np.float32(peak) + np.float32(ground)
    if rng.random() < 0.5:
        image += (value_noise(rng, size, size / 3, octaves=2) - 0.5) * np.float32(ground * 0.8)
    level = peak * float(np.exp(rng.uniform(np.log(0.004), np.log(0.12))))
    image = optics.sensor_noise(rng, image, read=level, shot=level * float(rng.integers(0, 3)))
    if rng.random() < 0.1:
        image = optics.lower_resolution(image, rng.uniform(1.3, 2))
    return _tinted(rng, image), cells.layers(annotation_margin(rng, cells, widest=0.35))


def bright_field(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """Stained nuclei in tissue, or unstained cells with rims and halos; dark on bright mostly."""
    if rng.random() < 0.65:
        return _stained(rng, size)
    return _unstained(rng, size)


def tissue(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    """Cells side by side, divided by membranes, many with a nucleus in a second layer."""
    labels, count = _mosaic(rng, size)
    wall = size / 256 * rng.uniform(0, 3.5)
    membrane = borders(labels)
    if wall > 1:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(wall / 2) + 1,) * 2)
        membrane = cv2.dilate(membrane.view(np.uint8), kernel).view(np.bool_)
    gone = np.flatnonzero(rng.random(count) < rng.choice([0.0, 0.1, 0.4])) + 1
    numbers = np.arange(count + 1, dtype=np.int32)
    numbers[gone] = 0
    labels = np.where(membrane, 0, np.take(numbers, labels))
    nuclei = _nuclei_within(rng, labels, count)
    layers = LabelLayers(size)
    layers.add_map(labels, count)
    if nuclei.any():
        layers.add_map(nuclei, count, layer=1)
    image = _tissue_colours(rng, labels, nuclei, membrane, count)
    return optics.camera(rng, image, noise=0.7), layers


def _brightness(rng: Generator, cells: Cells) -> NDArray[np.float32]:
    values = 0.7 * np.exp(rng.normal(0, rng.choice([0.08, 0.2, 0.45]), cells.count))
    if rng.random() < 0.3:  # condensed or dying nuclei shine
        shining = rng.random(cells.count) < rng.uniform(0.05, 0.3)
        values[shining] *= rng.uniform(1.5, 4)
    return np.maximum(values, 0.2).astype(np.float32)


def _chromatin(rng: Generator, cells: Cells, size: int) -> Image:
    """Return a factor for every pixel: texture, nucleoli, and shading towards the rim."""
    typical = float(np.median(cells.radii))
    strength = float(rng.choice([0.1, 0.3, 0.6]))
    noise = value_noise(rng, size, max(typical * rng.uniform(0.3, 0.9), 2), octaves=2)
    factor = 1 + np.float32(strength) * (noise - np.float32(0.5)) * 2
    if rng.random() < 0.4 and typical > 5:
        spots = value_noise(rng, size, max(typical * 0.35, 2.5))
        factor += np.float32(rng.choice([-0.5, 0.7])) * np.clip(
            (spots - np.float32(0.68)) * 6, 0, 1
        )
    rim = float(rng.choice([0.6, 0.8, 1.0, 1.4], p=[0.35, 0.3, 0.25, 0.1]))
    relative = np.minimum(cells.depth * np.float32(2 / max(typical, 1)), 1)
    factor = factor * (np.float32(rim) + np.float32(1 - rim) * relative)
    bounded: Image = np.maximum(factor, 0.15)
    return bounded


def _overlaps(cells: Cells, brightness: NDArray[np.float32]) -> Image:
    """Return the brightness of the hidden nucleus where two lie on top of each other."""
    behind = np.zeros_like(cells.labels)
    for index in range(cells.count - 1, -1, -1):
        fill_outline(behind, [cells.outlines[index]], index + 1)
    table = np.concatenate([[0], brightness]).astype(np.float32)
    return np.where(behind == cells.labels, np.float32(0), np.take(table, behind))


def _debris(rng: Generator, signal: Image) -> None:
    if rng.random() < 0.5:
        return
    size = signal.shape[0]
    for _ in range(int(rng.integers(1, 12))):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        radius = int(rng.integers(0, 2))
        cv2.circle(signal, (x, y), radius, float(rng.uniform(0.3, 1.5)), -1)


def _tinted(rng: Generator, image: Image) -> Image:
    kind = rng.random()
    if kind < 0.8:
        return image
    if kind < 0.84:
        return np.float32(255) - image
    tint = rng.uniform(0, 0.5, 3)
    tint[int(rng.integers(3))] = 1
    return optics.to_colour(image, tint.astype(np.float32))


def _stained(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    cells = draw_cells(rng, size, smallest=4, largest=80, most=200)
    typical = float(np.median(cells.radii))
    blue = cells.per_cell(0.9 * np.exp(rng.normal(0, 0.3, cells.count)))
    blue *= _chromatin(rng, cells, size)
    if rng.random() < 0.5:  # pale nuclei below the focal plane, which nobody outlines
        blue += _pale_nuclei(rng, size, typical)
    fibres = value_noise(rng, size, size / 8 * rng.uniform(0.3, 2), octaves=4, persistence=0.65)
    pink = np.float32(rng.uniform(0, 0.5)) + fibres * np.float32(rng.uniform(0.05, 0.5))
    blue += np.float32(rng.uniform(0, 0.25)) + fibres * np.float32(rng.uniform(0, 0.15))
    blue = optics.blur(blue, size / 256 * rng.uniform(0.5, 1.4))
    stain = np.stack([_HAEMATOXYLIN, _EOSIN]) + rng.normal(0, 0.09, (2, 3)).astype(np.float32)
    strength = rng.uniform(0.5, 1.3, 2).astype(np.float32)[:, None]
    density = cv2.merge([blue, pink]) @ np.maximum(stain * strength, 0.01)
    lamp = np.array([1, 1, 1], np.float32) * np.float32(rng.uniform(190, 255))
    image = np.exp(-density) * lamp
    if rng.random() < 0.15:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    margin = annotation_margin(rng, cells, widest=0.2)
    return optics.camera(rng, image, noise=0.5), cells.layers(margin)


def _pale_nuclei(rng: Generator, size: int, radius: float) -> Image:
    pale = np.zeros((size, size), np.float32)
    count = int(rng.integers(1, 8))
    centres = (rng.random((count, 2)) * size).astype(np.float32)
    radii = (radius * rng.uniform(0.7, 1.3, count)).astype(np.float32)
    for outline in radial_outlines(rng, centres, radii, elongation=1.3, roughness=0.1):
        fill_outline(pale, [outline], float(rng.uniform(0.1, 0.35)))
    return optics.blur(pale, max(radius * rng.uniform(0.25, 0.5), 1.5))


def _unstained(rng: Generator, size: int) -> tuple[Image, LabelLayers]:
    cells = draw_cells(rng, size, smallest=8, largest=80, most=100)
    unit = size / 256
    rim, halo = unit * rng.uniform(1, 4), unit * rng.uniform(1.5, 5)
    outside = cv2.distanceTransform((cells.labels == 0).view(np.uint8), cv2.DIST_L2, 3)
    inside = cells.labels > 0
    level = rng.uniform(70, 190)
    image = np.full((size, size), level, np.float32)
    image += (value_noise(rng, size, size / 4, octaves=3) - 0.5) * np.float32(rng.uniform(0, 40))
    contrast = np.float32(rng.uniform(15, 80) * rng.choice([-1, 1]))
    image += contrast * rng.uniform(-0.3, 1) * inside
    image += contrast * rng.uniform(0.3, 1.2) * (inside & (cells.depth < rim))
    image -= contrast * rng.uniform(0, 1) * (~inside) * np.exp(-outside / np.float32(halo))
    grain = value_noise(rng, size, max(float(np.median(cells.radii)) / 3, 2.5), octaves=2) - 0.5
    image += grain * np.float32(rng.uniform(5, 50)) * inside
    return optics.camera(rng, image, noise=0.6), cells.layers()


def _mosaic(rng: Generator, size: int) -> tuple[NDArray[np.int32], int]:
    """Return Voronoi cells with bent borders, and how many there are."""
    side = int(rng.integers(3, 12))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) + 0.5
    places = grid + rng.uniform(-0.5, 0.5, grid.shape) * rng.uniform(0.3, 1.2)
    seeds = np.ones((size, size), np.uint8)
    at = np.clip(places * size / side, 0, size - 1).astype(int)
    seeds[at[:, 1], at[:, 0]] = 0
    _, nearest = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    bend = size / side * rng.uniform(0, 0.5)
    x, y = (
        axis + (value_noise(rng, size, size / side, octaves=2) - 0.5) * np.float32(bend)
        for axis in pixels(size)
    )
    bent = cv2.remap(
        nearest.astype(np.float32), x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    return bent.astype(np.int32), int(nearest.max())


def _nuclei_within(rng: Generator, labels: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Return a nucleus in most cells, numbered as the cells, or nothing."""
    nuclei = np.zeros_like(labels)
    if rng.random() < 0.4:
        return nuclei
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.float64)
    sums = [
        np.bincount(labels.ravel(), axis.ravel(), count + 1)[1:] for axis in pixels(len(labels))
    ]
    seen = np.flatnonzero((area > 60) & (rng.random(count) < 0.9))
    if not seen.size:
        return nuclei
    centres = (np.stack(sums, -1)[seen] / area[seen, None]).astype(np.float32)
    part = rng.uniform(0.25, 0.6) * rng.uniform(0.7, 1.2, seen.size)
    radii = (np.sqrt(area[seen] / np.pi) * part).astype(np.float32)
    outlines = radial_outlines(
        rng, centres, radii, elongation=1.2, angles=rng.uniform(0, np.pi), roughness=0.06
    )
    for index, outline in zip(seen, outlines, strict=True):
        fill_outline(nuclei, [outline], int(index) + 1)
    return np.where(nuclei == labels, nuclei, 0)


def _tissue_colours(
    rng: Generator,
    labels: NDArray[np.int32],
    nuclei: NDArray[np.int32],
    membrane: NDArray[np.bool_],
    count: int,
) -> Image:
    size = labels.shape[0]
    grey = rng.random() < 0.5
    base = rng.uniform(20, 235) + rng.normal(0, rng.choice([5, 40]), 3)
    ground: NDArray[np.float32] = np.clip(base, 10, 245).astype(np.float32)
    wall, core, empty = (_unlike(rng, ground) for _ in range(3))
    table = ground + rng.normal(0, rng.choice([2, 8, 25]), (count + 1, 3)).astype(np.float32)
    table[0] = empty
    image = np.take(table, labels, axis=0)
    image += (value_noise(rng, size, size / 20, octaves=3) - 0.5)[..., None] * rng.uniform(5, 60)
    if rng.random() < 0.3:
        depth = np.minimum(depth_of(labels) / (size / 256 * rng.uniform(3, 10)), 1)
        image *= (np.float32(0.6) + np.float32(0.4) * depth)[..., None]
    image[membrane] = wall
    image[nuclei > 0] = core
    image = np.clip(image, 0, 255).astype(np.float32)
    return image.mean(-1) if grey else image


def _unlike(rng: Generator, colour: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a colour that can be told from another, in grey as well."""
    step = float(np.exp(rng.uniform(np.log(20), np.log(140))))
    up = rng.random() > float(colour.mean()) / 255
    other = colour + (step if up else -step) + rng.normal(0, rng.choice([2, 12]), 3)
    return np.clip(other, 0, 255).astype(np.float32)
