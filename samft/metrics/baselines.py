"""Segmentations that need no training: what a model's scores have to be compared with.

A model that answers a tight box worse than the ellipse in it has learnt nothing that helps. Every
baseline sees the image and the prompt, never the truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BoxBaseline = Callable[[Tensor, Tensor], Tensor]
"""(image (3, H, W) uint8 or float32 of 0 to 255, box (4,) xyxy) to a mask (H, W) bool."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_LEVELS = 256


def filled_box(image: Tensor, box: Tensor) -> Tensor:
    """Take everything in the box.

    Args:
        image: (3, H, W); only its size counts.
        box: (4,) float xyxy, original frame: the centres of the outermost pixels, as of a tight
            box, so that the box of a rectangle gives that rectangle.

    Returns:
        (H, W) bool.
    """
    mask = torch.zeros(image.shape[-2:], dtype=torch.bool)
    mask[_inside(box)] = True
    return mask


def ellipse_in_box(image: Tensor, box: Tensor) -> Tensor:
    """Take the ellipse that touches the sides of the box.

    Args:
        image: (3, H, W); only its size counts.
        box: (4,) float xyxy, see `filled_box`; the sides lie half a pixel outside these centres.

    Returns:
        (H, W) bool, True where a pixel's centre lies in the ellipse.
    """
    x0, y0, x1, y1 = box.tolist()
    y, x = _pixel_centres(image)
    across = (x - (x0 + x1) / 2) / ((x1 - x0 + 1) / 2)
    down = (y - (y0 + y1) / 2) / ((y1 - y0 + 1) / 2)
    mask: Tensor = across**2 + down**2 <= 1
    return mask


def otsu_in_box(image: Tensor, box: Tensor) -> Tensor:
    """Split the grey values in the box in two; the side that is rarer on its border is the object.

    On a tie it is the brighter side; a box of one grey value is taken as a whole.

    Args:
        image: (3, H, W) uint8 or float32, RGB, 0 to 255.
        box: (4,) float xyxy, see `filled_box`.

    Returns:
        (H, W) bool.

    Source: the threshold is that of Otsu 1979, IEEE Trans. SMC 9(1).
    """
    inside = _inside(box)
    values = _grey(image[(slice(None), *inside)])
    threshold = otsu_threshold(values)
    if threshold is None:
        return filled_box(image, box)
    bright = values > threshold
    ring = np.ones_like(bright)
    ring[1:-1, 1:-1] = False
    is_bright = 2 * np.count_nonzero(bright[ring]) <= np.count_nonzero(ring)
    mask = torch.zeros(image.shape[-2:], dtype=torch.bool)
    mask[inside] = torch.from_numpy(bright if is_bright else ~bright)
    return mask


def otsu_and_ellipse(image: Tensor, box: Tensor) -> Tensor:
    """Take what both `otsu_in_box` and `ellipse_in_box` take; arguments as theirs."""
    return otsu_in_box(image, box) & ellipse_in_box(image, box)


BOX_BASELINES: Final[Mapping[str, BoxBaseline]] = {
    "filled box": filled_box,
    "ellipse": ellipse_in_box,
    "Otsu": otsu_in_box,
    "Otsu and ellipse": otsu_and_ellipse,
}
"""Every answer to a box that needs no training, by the name it has in tables."""


def disc_at_point(image: Tensor, point: Tensor, radius: float) -> Tensor:
    """Take the disc around a point.

    Args:
        image: (3, H, W); only its size counts.
        point: (2,) float `(x, y)`, original frame.
        radius: In pixels of the original frame, see `median_radius`.

    Returns:
        (H, W) bool, True where a pixel's centre lies in the disc.
    """
    y, x = _pixel_centres(image)
    across, down = point.tolist()
    mask: Tensor = (x - across) ** 2 + (y - down) ** 2 <= radius**2
    return mask


def median_radius(areas: Tensor) -> float:
    """Return the median radius of discs of these areas ((K,) pixels, K > 0).

    The one number about the truth that a baseline may know: how large objects of this kind are.
    """
    return math.sqrt(float(np.median(areas.cpu().numpy())) / math.pi)


def otsu_threshold(values: NDArray[np.uint8]) -> int | None:
    """Return the grey value that splits `values` into the two most different groups.

    Args:
        values: uint8 of any shape.

    Returns:
        The highest value of the darker group; the lowest such value where several split alike;
        `None` if there is only one value.

    Source: Otsu 1979, IEEE Trans. SMC 9(1): the largest variance between the groups.
    """
    counts = np.bincount(values.reshape(-1), minlength=_LEVELS).astype(np.float64)
    below, sums = counts.cumsum(), (counts * np.arange(_LEVELS)).cumsum()
    above = below[-1] - below
    splits = np.flatnonzero((below > 0) & (above > 0))
    if splits.size == 0:
        return None
    below, above = below[splits], above[splits]
    apart = (sums[-1] - sums[splits]) / above - sums[splits] / below
    return int(splits[np.argmax(below * above * apart**2)])


def _inside(box: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns of the pixels whose centres lie in the box."""
    x0, y0, x1, y1 = box.tolist()
    first_row, first_column = max(0, math.ceil(y0)), max(0, math.ceil(x0))
    return (
        slice(first_row, max(first_row, math.floor(y1) + 1)),
        slice(first_column, max(first_column, math.floor(x1) + 1)),
    )


def _pixel_centres(image: Tensor) -> tuple[Tensor, Tensor]:
    height, width = image.shape[-2:]
    return torch.arange(height)[:, None], torch.arange(width)[None, :]


def _grey(pixels: Tensor) -> NDArray[np.uint8]:
    weights = torch.tensor(_LUMA).view(3, 1, 1)
    return (pixels * weights).sum(dim=0).round().clamp(0, 255).to(torch.uint8).numpy()
