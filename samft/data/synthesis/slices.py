"""A slice through a body while it is being drawn: values, labels, and places in the body."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.synthesis.canvas import LabelLayers
from samft.data.synthesis.optics import Image
from samft.data.synthesis.shapes import Points, Region, Shape, blob, placed, region_of

Place = tuple[float, float]


class Slice:
    """A slice under construction: values (Hounsfield units, or any intensity) and labels.

    Positions are given relative to the body: (0, 0) is its middle, x runs from -1 to 1 across it
    and y from -1 (front) to 1 (back). Turning, mirroring and shifting it is done here.

    Args:
        rng: Source of everything random.
        size: Side of the slice.
        air: Value of everything outside.
        visible: Objects that differ less from what was there before are not labelled.
    """

    def __init__(self, rng: Generator, size: int, *, air: float, visible: float) -> None:
        self.rng = rng
        self.size = size
        self.visible = visible
        self.values = np.full((size, size), air, np.float32)
        self.labels = LabelLayers(size)
        half = size / 2 * rng.uniform(0.72, 1.08)
        self.scale = np.array([half, half * rng.uniform(0.5, 0.95)])
        self.scale *= [rng.choice([-1, 1]), rng.choice([-1, 1], p=[0.4, 0.6])]
        self.turn = rng.normal(0, 0.08)
        self.centre = size / 2 + rng.normal(0, 0.04, 2) * size

    def to_pixels(self, points: NDArray[np.floating]) -> Points:
        """Return points of the body in pixels of the slice."""
        return placed(points * self.scale, self.centre, 1.0, self.turn)

    def organ(
        self, at: Place, half: Place, value: float, *, rough: float = 0.06, label: bool = True
    ) -> int:
        """Draw a smooth organ around `at` with half axes `half`; return its label, or 0."""
        rough = rough * self.rng.uniform(0.5, 1.5)
        unit = blob(self.rng, (0, 0), 1, roughness=rough, angle=self.rng.uniform(0, 6.3))
        return self.outline(unit * half + at, value, label=label)

    def outline(self, points: NDArray[np.floating], value: float, *, label: bool = True) -> int:
        """Draw what a closed outline of the body contains; return its label, or 0."""
        return self._draw(Shape(contours=[self.to_pixels(points)]), value, label=label)

    def pierced(
        self, points: NDArray[np.floating], hole: NDArray[np.floating], value: float
    ) -> int:
        """Draw what lies in one closed outline and not in another within; return its label."""
        contours = [self.to_pixels(points), self.to_pixels(hole)]
        return self._draw(Shape(contours=contours), value, label=True)

    def line(
        self, points: NDArray[np.floating], width: float, value: float, *, label: bool = True
    ) -> int:
        """Draw a thick line; `width` is relative to half the body. Return its label, or 0."""
        stroke = self.to_pixels(points)
        pixels = max(1.0, width * float(np.abs(self.scale).mean()))
        return self._draw(Shape(strokes=[stroke], widths=[pixels]), value, label=label)

    def parts(self, whole: int, outlines: Sequence[tuple[Points, float]], *, layer: int) -> None:
        """Draw outlines (in pixels, with their values) within an object, as parts of it."""
        for outline, value in outlines:
            region = region_of(Shape(contours=[outline]), self.size)
            if region is None:
                continue
            seen = region.mask & (self.labels.layers[0][region.box] == whole)
            if self._fill(Region(box=region.box, mask=seen), value):
                self.labels.add_part(region, whole, layer=layer)

    def _draw(self, shape: Shape, value: float, *, label: bool) -> int:
        region = region_of(shape, self.size)
        if region is None:
            return 0
        if self._fill(region, value) and label:
            return self.labels.add(region)
        self.labels.erase(region)
        return 0

    def _fill(self, region: Region, value: float) -> bool:
        """Set the value of a region; return whether that can be seen."""
        patch = self.values[region.box]
        behind = float(cv2.mean(patch, region.mask.view(np.uint8))[0])
        patch[region.mask] = value
        return bool(region.mask.any()) and abs(value - behind) >= self.visible


def enlarged(values: Image, labels: LabelLayers, size: int) -> tuple[Image, LabelLayers]:
    """Bring a slice of low resolution to the size asked for, as a viewer would."""
    if labels.size == size:
        return values, labels
    image = cv2.resize(values, (size, size), interpolation=cv2.INTER_LINEAR)
    labels.layers = [
        np.asarray(cv2.resize(layer, (size, size), interpolation=cv2.INTER_NEAREST_EXACT), np.int32)
        for layer in labels.layers
    ]
    labels.size = size
    return image, labels
