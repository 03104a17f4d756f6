"""Populations of cells and nuclei: where they lie, how they touch, which pixels they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.synthesis.canvas import LabelLayers
from samft.data.synthesis.optics import Image
from samft.data.synthesis.shapes import Points, fill_outline, radial_outlines

_CANDIDATES = 4  # places tried per cell


@dataclass(frozen=True, kw_only=True, slots=True)
class Cells:
    """Cells of one image; every image has one typical size.

    Args:
        labels: (size, size) int32, 0 background, k + 1 cell k; later cells cover earlier ones.
        outlines: (n, points, 2) float32.
        centres: (n, 2) float32.
        radii: (n,) float32, pixels.
        depth: (size, size) float32, distance from the border of the cell, pixels.
    """

    labels: NDArray[np.int32]
    outlines: NDArray[np.float32]
    centres: Points
    radii: NDArray[np.float32]
    depth: Image

    @property
    def count(self) -> int:
        """How many cells were drawn, whether or not they can be seen."""
        return len(self.radii)

    def per_cell(self, values: NDArray[Any], background: float = 0.0) -> Image:
        """Return an image in which every cell has its value of `values` ((n,))."""
        table = np.concatenate([[background], values]).astype(np.float32)
        image: Image = np.take(table, self.labels)
        return image

    def layers(self, margin: float = 0.0) -> LabelLayers:
        """Return the label layers of an image of these cells.

        Args:
            margin: How far outside the border an annotator drew the outline, pixels; where two
                cells meet so, each pixel goes to the nearer one.
        """
        layers = LabelLayers(self.labels.shape[0])
        layers.add_map(grown(self.labels, margin) if margin >= 1 else self.labels, self.count)
        return layers


def annotation_margin(rng: Generator, cells: Cells, *, widest: float) -> float:
    """Draw how far outside the borders the outlines of one image are, pixels.

    Some annotators follow the half maximum, others take in the halo. A model that has seen both
    learns the extent from the box, which it cannot know from the image.

    Args:
        rng: Source of the choice.
        cells: The cells of the image.
        widest: Widest margin in typical radii.
    """
    if rng.random() < 0.4:
        return 0.0
    typical = float(np.median(cells.radii)) if cells.count else 0.0
    return float(min(typical * rng.uniform(0.03, widest), cells.labels.shape[0] / 64))


def draw_cells(rng: Generator, size: int, *, smallest: float, largest: float, most: int) -> Cells:
    """Draw a random population.

    Args:
        rng: Source of everything random.
        size: Side of the image.
        smallest: Smallest typical diameter, for an image of 256 pixels.
        largest: Largest typical diameter.
        most: Most cells in an image.
    """
    diameter = size / 256 * float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    coverage = float(rng.choice([0.06, 0.2, 0.45], p=[0.3, 0.45, 0.25])) * rng.uniform(0.6, 1.5)
    count = int(np.clip(coverage * size**2 / (0.785 * diameter**2), 2, most))
    gap = float(rng.choice([1.15, 0.95, 0.75], p=[0.35, 0.4, 0.25]))
    centres = _places(rng, size, diameter, count, gap=gap)
    count = len(centres)
    spread = rng.uniform(0.05, 0.3)
    radii = (diameter / 2 * np.exp(rng.normal(0, spread, count))).astype(np.float32)
    stretch = 1 + np.abs(rng.normal(0, rng.uniform(0.15, 1.0), count)).astype(np.float32)
    angles = rng.uniform(0, np.pi, count)
    if rng.random() < 0.25:  # grown in one direction
        angles = rng.uniform(0, np.pi) + rng.normal(0, 0.3, count)
    outlines = radial_outlines(
        rng,
        centres,
        radii,
        elongation=np.minimum(stretch, 3.0),
        angles=angles.astype(np.float32),
        roughness=float(rng.choice([0.01, 0.05, 0.1], p=[0.3, 0.4, 0.3])),
        points=int(np.clip(diameter * 1.2, 16, 48)),
    )
    labels = np.zeros((size, size), np.int32)
    for index, outline in enumerate(outlines):
        fill_outline(labels, [outline], index + 1)
    return Cells(
        labels=labels, outlines=outlines, centres=centres, radii=radii, depth=depth_of(labels)
    )


def grown(labels: NDArray[np.int32], margin: float) -> NDArray[np.int32]:
    """Return a label map whose objects reach `margin` pixels further into the background."""
    if not labels.any():
        return labels
    background = (labels == 0).view(np.uint8)
    distance, nearest = cv2.distanceTransformWithLabels(
        background, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # OpenCV numbers the pixels of objects from 1 on in the order of their rows.
    owners = np.concatenate([[0], labels[labels > 0]]).astype(np.int32)
    return np.where(distance <= margin, np.take(owners, nearest), 0)


def borders(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return the pixels whose right or lower neighbour has another value."""
    edge = np.zeros(labels.shape, np.bool_)
    edge[:, :-1] = labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return edge


def depth_of(labels: NDArray[np.int32]) -> Image:
    """Return how far every pixel of an object is from its border, pixels; 0 outside."""
    inside = (labels > 0) & ~borders(labels)
    depth: Image = cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, 3)
    return depth


def _places(rng: Generator, size: int, diameter: float, count: int, *, gap: float) -> Points:
    """Return up to `count` centres at least `gap` diameters apart, scattered or in clusters."""
    tried = count * _CANDIDATES
    if rng.random() < 0.5:
        places = rng.uniform(-0.02, 1.02, (tried, 2)) * size
    else:
        clusters = rng.uniform(0, 1, (int(rng.integers(1, 6)), 2)) * size
        reach = max(np.sqrt(count / len(clusters)) * diameter * rng.uniform(0.4, 0.9), diameter)
        places = clusters[rng.integers(len(clusters), size=tried)] + rng.normal(
            0, reach, (tried, 2)
        )
        places = places[((places > -0.3 * diameter) & (places < size + 0.3 * diameter)).all(1)]
    tries: Points = places.astype(np.float32)
    if not len(tries):
        return np.full((1, 2), size / 2, np.float32)
    squared = (tries**2).sum(1)
    near = squared[:, None] + squared - 2 * tries @ tries.T < (gap * diameter) ** 2
    free = np.ones(len(tries), np.bool_)
    chosen: list[int] = []
    for index in range(len(tries)):
        if free[index]:
            chosen.append(index)
            free &= ~near[index]
        if len(chosen) == count:
            break
    return tries[chosen]
