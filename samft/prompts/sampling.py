"""Points and boxes from masks: a random pixel, the innermost pixel, the tight box.

All functions take (P, S, S) bool masks and answer for every object, with a flag for those that have
no pixel; a point is the `(x, y)` index of a pixel, a box holds the indices of its outermost pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

_OBJECTS_AT_ONCE = 4
_DRAWS = 2**62


def sample_points(masks: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one pixel per object, each True pixel with the same probability.

    Counts per row, then looks the drawn pixel up in its row, so that nothing of the masks' size is
    computed in floating point.

    Args:
        masks: (P, S, S) bool.
        generator: Source of randomness, on the masks' device.

    Returns:
        Points (P, 2) float32 `(x, y)`, zero where the mask is empty, and (P,) bool, False there.
    """
    until_row = _count_rows(masks).cumsum(dim=1)
    total = until_row[:, -1:]
    # An integer draw: float32 has too few steps for the pixels of a large mask.
    draw = torch.randint(_DRAWS, total.shape, generator=generator, device=masks.device)
    rank = draw % total.clamp(min=1)
    row = _first_above(until_row, rank)
    before = torch.where(row > 0, until_row.gather(1, (row - 1).clamp(min=0)), 0)
    objects = torch.arange(masks.shape[0], device=masks.device)
    line = masks[objects, row[:, 0]]
    column = _first_above(line.cumsum(dim=1), rank - before)
    found = total[:, 0] > 0
    points = torch.cat([column, row], dim=1).float()
    return points * found[:, None], found


def tight_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest box around each object.

    Args:
        masks: (P, S, S) bool.

    Returns:
        Boxes (P, 4) float32 xyxy of the first and last column and row with a True pixel, zero where
        the mask is empty, and (P,) bool, False there.
    """
    columns, rows = masks.any(dim=1), masks.any(dim=2)
    x0, x1 = _ends(columns)
    y0, y1 = _ends(rows)
    found = columns.any(dim=1)
    return torch.stack([x0, y0, x1, y1], dim=1).float() * found[:, None], found


def center_points(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixel of each object that is farthest from its boundary.

    Args:
        masks: (P, S, S) bool.

    Returns:
        Points (P, 2) float32 `(x, y)`, zero where the mask is empty, and (P,) bool, False there.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 7.1 (first point of the evaluation).
    """
    points, depths = innermost(masks)
    return points, depths > 0


def innermost(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixel farthest from the boundary and how far that is.

    Outside the image counts as background. Among equally deep pixels the first in reading order is
    taken, so the answer is always the same. Runs on the CPU, on the part inside the tight box.

    Args:
        masks: (P, S, S) bool.

    Returns:
        Points (P, 2) float32 `(x, y)`, zero where the mask is empty, and (P,) float32 Euclidean
        distances to the nearest False pixel, 0 where the mask is empty.
    """
    boxes, found = tight_boxes(masks)
    points = np.zeros((len(masks), 2), dtype=np.float32)
    depths = np.zeros(len(masks), dtype=np.float32)
    corners = boxes.long().tolist()
    for index in found.nonzero()[:, 0].tolist():
        x0, y0, x1, y1 = corners[index]
        crop = masks[index, y0 : y1 + 1, x0 : x1 + 1].cpu().numpy()
        distance = ndimage.distance_transform_edt(np.pad(crop, 1))
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        points[index] = x0 + x - 1, y0 + y - 1
        depths[index] = distance[y, x]
    return torch.from_numpy(points).to(masks.device), torch.from_numpy(depths).to(masks.device)


def _count_rows(masks: Tensor) -> Tensor:
    # torch sums bool by way of a full-size integer copy; int32 and a few objects at once bound it.
    chunks = torch.split(masks, _OBJECTS_AT_ONCE)
    return torch.cat([chunk.sum(dim=2, dtype=torch.int32) for chunk in chunks])


def _first_above(cumulative: Tensor, rank: Tensor) -> Tensor:
    """Return (P, 1) the first index at which (P, S) `cumulative` exceeds (P, 1) `rank`."""
    index = torch.searchsorted(cumulative, rank, right=True)
    return index.clamp(max=cumulative.shape[1] - 1)  # only empty masks reach the end


def _ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last True index of each row of (P, S) bool."""
    values = occupied.to(torch.uint8)
    return values.argmax(dim=1), occupied.shape[1] - 1 - values.flip(1).argmax(dim=1)
