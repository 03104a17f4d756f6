"""Points and boxes from masks: random pixels, the innermost pixel, the tight box, what lies around.

All functions take (P, S, S) bool masks and answer for every object, with a flag for those that have
no pixel; a point is the `(x, y)` index of a pixel, a box holds the indices of its outermost pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

_OBJECTS_AT_ONCE = 4
_NEAR_PX = 3
_DRAWS = 2**62


def sample_points(masks: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one pixel per object, each True pixel with the same probability.

    Args:
        masks: (P, S, S) bool.
        generator: Source of randomness, on the masks' device.

    Returns:
        Points (P, 2) float32 `(x, y)`, zero where the mask is empty, and (P,) bool, False there.
    """
    points, found = sample_many(masks, 1, generator=generator)
    return points[:, 0], found


def sample_many(masks: Tensor, count: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw pixels of each object one by one, each True pixel with the same probability.

    The same pixel can come up twice, so that an object of one pixel has as many points as any.
    Counts per row, then looks the drawn pixel up in its row, so that nothing of the masks' size is
    computed in floating point.

    Args:
        masks: (P, S, S) bool.
        count: N, pixels per object.
        generator: Source of randomness, on the masks' device.

    Returns:
        Points (P, N, 2) float32 `(x, y)`, zero where the mask is empty, and (P,) bool, False there.
    """
    until_row = _count_rows(masks).cumsum(dim=1)
    total = until_row[:, -1:]
    # An integer draw: float32 has too few steps for the pixels of a large mask.
    shape = (len(masks), count)
    draw = torch.randint(_DRAWS, shape, generator=generator, device=masks.device)
    rank = draw % total.clamp(min=1)
    row = _first_above(until_row, rank)
    before = torch.where(row > 0, until_row.gather(1, (row - 1).clamp(min=0)), 0)
    objects = torch.arange(masks.shape[0], device=masks.device)
    line = masks[objects[:, None], row]
    column = _first_above(line.cumsum(dim=2), (rank - before)[..., None])[..., 0]
    found = total[:, 0] > 0
    points = torch.stack([column, row], dim=-1).float()
    return points * found[:, None, None], found


def pixel_counts(masks: Tensor) -> Tensor:
    """Return (P,) int64, the True pixels of each of (P, S, S) bool."""
    return _count_rows(masks).sum(dim=1)


def surroundings(masks: Tensor, ignored: Tensor | None = None, *, reach: float = 0.25) -> Tensor:
    """Return where a person clicks to say "not this": near the object, outside it.

    That is the object's tight box, enlarged, without the object; if nothing of it is left, as for
    an object that fills its image but for a far corner, all that is not the object.

    Args:
        masks: (P, S, S) bool.
        ignored: (P, S, S) bool, pixels to leave out, or `None`.
        reach: How far to enlarge the box, as a share of its side; at least 3 pixels.

    Returns:
        (P, S, S) bool; all False for an object without a pixel.

    Source: micro-sam 1.x takes its negative clicks from the box enlarged by 3 pixels.
    """
    boxes, found = tight_boxes(masks)
    grow = (reach * (boxes[:, 2:] - boxes[:, :2] + 1)).clamp(min=_NEAR_PX)
    low, high = boxes[:, :2] - grow, boxes[:, 2:] + grow
    lines = [torch.arange(masks.shape[axis], device=masks.device) for axis in (-1, -2)]
    columns, rows = (
        (line >= low[:, axis, None]) & (line <= high[:, axis, None])
        for axis, line in enumerate(lines)
    )
    free = ~masks & found[:, None, None]
    if ignored is not None:
        free &= ~ignored
    near = free & rows[:, :, None] & columns[:, None, :]
    nothing = ~near.flatten(1).any(dim=1)
    return torch.where(nothing[:, None, None], free, near)


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
    """Return (..., N) the first index at which (..., S) `cumulative` exceeds (..., N) `rank`."""
    index = torch.searchsorted(cumulative, rank, right=True)
    return index.clamp(max=cumulative.shape[-1] - 1)  # only empty masks reach the end


def _ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last True index of each row of (P, S) bool."""
    values = occupied.to(torch.uint8)
    return values.argmax(dim=1), occupied.shape[1] - 1 - values.flip(1).argmax(dim=1)
