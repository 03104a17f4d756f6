"""Collects painted pixels and the label layers that go with them."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.objects import Objects
from samft.data.synthesis.optics import Image, dim
from samft.data.synthesis.shapes import Region
from samft.data.synthesis.textures import Field, pixels, value_noise

MIN_AREA: Final = 5
"""Objects of which fewer pixels can be seen are background, in pixels."""
MAX_OBJECTS: Final = 150
"""More objects than this are not labelled; the largest are."""


class LabelLayers:
    """Label layers of one image that grow while it is drawn.

    Layer 0 holds what stands in front of each other; further layers hold what lies within: parts of
    objects, or wholes that consist of them.

    Args:
        size: Side of the image.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.layers: list[NDArray[np.int32]] = [np.zeros((size, size), np.int32)]
        self.count = 0

    def add(self, region: Region) -> int:
        """Add an object in front of all others, in layer 0, and return its value."""
        self.erase(region)
        return self._write(region.box, region.mask, layer=0)

    def erase(self, region: Region) -> None:
        """Hide what lies behind a region, in all layers."""
        for layer in self.layers:
            layer[region.box][region.mask] = 0

    def add_part(self, region: Region, whole: int, *, layer: int = 1) -> int:
        """Add a part of an object of layer 0, within what is seen of it, and return its value."""
        inside = region.mask & (self.layers[0][region.box] == whole)
        return self._write(region.box, inside, layer=layer)

    def add_mask(self, mask: NDArray[np.bool_], *, layer: int) -> int:
        """Add an object given by a mask of the whole image; nothing is hidden by it."""
        return self._write((slice(None), slice(None)), mask, layer=layer)

    def add_map(self, labels: NDArray[np.int32], count: int, *, layer: int = 0) -> None:
        """Add a whole layer with values 1 to `count`, where it is not background."""
        target = self._layer(layer)
        np.copyto(target, labels + np.int32(self.count), where=labels > 0)
        self.count += count

    def objects(self, object_class: int) -> Objects:
        """Return what can be seen: numbered objects in as few layers as needed.

        Args:
            object_class: Class index of all of them.
        """
        areas = np.stack([np.bincount(la.ravel(), minlength=self.count + 1) for la in self.layers])
        areas[:, 0] = 0
        total = areas.sum(0)
        kept = np.flatnonzero(total >= MIN_AREA)
        if kept.size > MAX_OBJECTS:
            kept = np.sort(kept[np.argsort(-total[kept], kind="stable")[:MAX_OBJECTS]])
        numbers = np.zeros(self.count + 1, np.int32)
        numbers[kept] = np.arange(1, kept.size + 1)
        layer_of = areas[:, kept].argmax(0)
        used = np.unique(layer_of) if kept.size else np.array([0])
        return Objects(
            layers=np.stack([np.take(numbers, self.layers[index]) for index in used]),
            object_layer=np.searchsorted(used, layer_of).astype(np.int64),
            object_class=np.full(kept.size, object_class, np.int64),
        )

    def _layer(self, index: int) -> NDArray[np.int32]:
        while len(self.layers) <= index:
            self.layers.append(np.zeros((self.size, self.size), np.int32))
        return self.layers[index]

    def _write(self, box: tuple[slice, slice], mask: NDArray[np.bool_], *, layer: int) -> int:
        self.count += 1
        self._layer(layer)[box][mask] = self.count
        return self.count


def paint(
    image: Image,
    region: Region,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    field: Field,
) -> None:
    """Paint a region in place with colours from `low` to `high` ((3,)) as a texture says."""
    # OpenCV, because NumPy is slow along an axis of three.
    texture = field[region.box]
    planes = [texture * step + start for start, step in zip(low, high - low, strict=True)]
    cv2.copyTo(cv2.merge(planes), region.mask.view(np.uint8), image[region.box])


def darken(image: Image, region: Region, strength: float, softness: float) -> None:
    """Cast a soft shadow in place: darker by `strength` (0 to 1), blurred by `softness` pixels."""
    shade = cv2.GaussianBlur(region.mask.astype(np.float32), (0, 0), max(softness, 0.3))
    dim(image[region.box], 1 - np.float32(strength) * shade)


def shade_round(rng: Generator, image: Image, region: Region, strength: float) -> None:
    """Make a region look round in place: lit from a random side, darker towards its rim."""
    depth = cv2.distanceTransform(region.mask.view(np.uint8), cv2.DIST_L2, 3)
    depth = depth / np.float32(max(float(depth.max()), 1.0))
    height, width = region.mask.shape
    angle = rng.uniform(0, 2 * np.pi)
    ramp_x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * np.float32(np.cos(angle))
    ramp_y = np.linspace(-0.5, 0.5, height, dtype=np.float32) * np.float32(np.sin(angle))
    factor = np.sqrt(depth) + (ramp_x - np.float32(0.6)) + ramp_y[:, None]
    factor *= np.float32(strength)
    factor += 1
    factor[~region.mask] = 1
    dim(image[region.box], factor)


def object_colours(
    rng: Generator, image: Image, region: Region, *, grey: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two colours for an object, from barely to strongly unlike what it will cover.

    Args:
        rng: Source of the choice.
        image: What is painted so far.
        region: Where the object will be.
        grey: Whether the colours must be grey.
    """
    behind = np.asarray(cv2.mean(image[region.box], region.mask.view(np.uint8))[:3], np.float32)
    step = float(np.exp(rng.uniform(np.log(14), np.log(160))))
    direction = np.ones(3, np.float32)
    if not grey:
        chroma = float(rng.choice([0.2, 0.5, 1.2]))  # natural surfaces differ in brightness most
        direction += np.float32(chroma) * rng.standard_normal(3, np.float32)
        direction *= np.float32(np.sqrt(3) / max(float(np.linalg.norm(direction)), 0.1))
    sign = 1 if rng.random() > behind.mean() / 255 else -1
    low = np.clip(behind + np.float32(sign * step) * direction, 0, 255)
    spread = float(np.exp(rng.uniform(np.log(3), np.log(90)))) * rng.choice([-1, 1])
    tilt = np.ones(3) if grey else 1 + rng.normal(0, 0.4, 3)
    high = np.clip(low + (spread * tilt).astype(np.float32), 0, 255)
    return low, high.astype(np.float32)


def warp(rng: Generator, image: Image, layers: LabelLayers, *, reach: float, cell: float) -> Image:
    """Bend image and labels alike by a smooth random field; return the image.

    Args:
        rng: Source of the field.
        image: The image, painted but not blurred yet.
        layers: Its labels, changed in place.
        reach: How far pixels move at most, pixels.
        cell: Distance over which the field changes, pixels.
    """
    x, y = (
        axis + (value_noise(rng, layers.size, cell) - np.float32(0.5)) * np.float32(2 * reach)
        for axis in pixels(layers.size)
    )
    x, y = cv2.convertMaps(x, y, cv2.CV_16SC2, nninterpolation=True)
    border = cv2.BORDER_REFLECT_101
    # The nearest pixel for both: they must not part by the half pixel that interpolation blurs.
    layers.layers = [
        cv2.remap(layer.view(np.float32), x, y, cv2.INTER_NEAREST, borderMode=border).view(np.int32)
        for layer in layers.layers
    ]
    bent: Image = cv2.remap(image, x, y, cv2.INTER_NEAREST, borderMode=border)
    return bent
