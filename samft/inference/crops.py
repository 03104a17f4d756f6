"""Where automatic prompts go: overlapping crops of an image, and a grid of points in each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from samft.errors import ConfigError
from samft.inference.prompt_arrays import Numbers, as_tensor


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of an image.

    Args:
        box: (x1, y1, x2, y2), the far edges excluded, pixels of the image.
        layer: 0 for the whole image, i for a crop of the i-th layer.
    """

    box: tuple[int, int, int, int]
    layer: int

    @property
    def origin(self) -> tuple[int, int]:
        """(x, y) of the top-left pixel."""
        return self.box[:2]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        x1, y1, x2, y2 = self.box
        return y2 - y1, x2 - x1

    def place(self, grid: Tensor) -> Tensor:
        """Bring (n, 2) points of the unit square to pixels of the image."""
        height, width = self.size
        return grid * grid.new_tensor([width, height]) + grid.new_tensor(self.origin)

    def inside(self, prompts: Tensor) -> Tensor:
        """Return those of (N, 2) points or (N, 4) boxes that lie in the crop."""
        corners = prompts.reshape(len(prompts), prompts.shape[1] // 2, 2)
        low, high = prompts.new_tensor(self.box).view(2, 2)
        return prompts[((corners >= low) & (corners <= high)).all(dim=2).all(dim=1)]


def crop_boxes(size: tuple[int, int], *, layers: int, overlap_ratio: float) -> list[Crop]:
    """Return the whole image and its crops: 2 x 2 in the first layer, 4 x 4 in the second, ...

    Args:
        size: (height, width) of the image.
        layers: Layers of crops.
        overlap_ratio: Overlap of the first layer's crops as a share of the short side; it halves
            from layer to layer.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 4 "Cropping"; the arithmetic is that of
        the released generator. Example: 1500 x 2250 has first crops of 1006 x 1381.
    """
    height, width = size
    crops = [Crop((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        parts = 2**layer
        overlap = int(overlap_ratio * min(size) * 2 / parts)
        columns = _cuts(width, parts, overlap)
        rows = _cuts(height, parts, overlap)
        crops += [Crop((x1, y1, x2, y2), layer) for (x1, x2), (y1, y2) in product(columns, rows)]
    return crops


def _cuts(length: int, parts: int, overlap: int) -> list[tuple[int, int]]:
    """Return (start, end) of each part; an image of fewer pixels than parts has fewer parts."""
    part = math.ceil((overlap * (parts - 1) + length) / parts)
    starts = [(part - overlap) * index for index in range(parts)]
    return [(start, min(start + part, length)) for start in starts if start < length]


def layer_grids(points_per_side: int, *, layers: int, downscale: int) -> list[Tensor]:
    """Return the point grid of every layer.

    Args:
        points_per_side: Points along each side for the whole image.
        layers: Layers of crops.
        downscale: How many times fewer points along each side every layer has.
    """
    return [point_grid(int(points_per_side / downscale**layer)) for layer in range(layers + 1)]


def point_grid(per_side: int) -> Tensor:
    """Return (per_side ** 2, 2) float64 centres of a regular grid in the unit square, by rows."""
    centres = (torch.arange(per_side, dtype=torch.float64) + 0.5) / per_side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def given_grids(grids: Sequence[Numbers], *, layers: int) -> list[Tensor]:
    """Check point grids from outside, one (n, 2) per layer with values 0 to 1.

    Raises:
        ConfigError: if one is missing or no such grid.
    """
    if len(grids) != layers + 1:
        raise ConfigError(
            "there is not one point grid for every layer",
            where="point_grids",
            found=len(grids),
            expected=f"{layers + 1}: the whole image and crop_n_layers={layers}",
        )
    found = [as_tensor("point_grids", grid).cpu().double() for grid in grids]
    for index, grid in enumerate(found):
        if grid.ndim != 2 or grid.shape[1] != 2 or not bool(((grid >= 0) & (grid <= 1)).all()):
            raise ConfigError(
                "a point grid is malformed",
                where=f"point_grids[{index}]",
                found=f"shape {tuple(grid.shape)}",
                expected="(n, 2), (x, y) from 0 to 1 as shares of the crop",
            )
    return found
