"""Short fingerprints of images, and how well outlines lie on edges."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

WAYS: Final = (
    "as it is",
    "mirrored left to right",
    "mirrored top to bottom",
    "turned by 180 degrees",
    "transposed",
    "turned by 90 degrees",
    "turned by 270 degrees",
    "transposed the other way",
)
"""What may have been done to a mask; the last four exchange height and width."""
_SIDE = 256
_LEAST_EDGE = 24
_TEXTURED = 0.4


def digest_of(values: NDArray[Any]) -> int:
    """Return 64 bits, never 0, that two arrays share only if they are equal."""
    total = hashlib.blake2b(f"{values.dtype}{values.shape}".encode(), digest_size=8)
    total.update(np.ascontiguousarray(values).data)
    return int.from_bytes(total.digest(), "little") or 1


def likeness_of(grey: NDArray[Any]) -> int:
    """Return 64 bits that hardly change if the image hardly does; 0 for one without texture.

    Each bit says whether a cell of a 9 x 8 grid is brighter than its left neighbour.

    Args:
        grey: (H, W).

    Source: the difference hash of N. Krawetz, "Kind of Like That", 2013.
    """
    cells = _shrunk(grey.astype(np.float32), (8, 9))
    steps = np.diff(cells, axis=1)
    spread = float(cells.max() - cells.min())
    if spread <= 0 or float((np.abs(steps) > 0.05 * spread).mean()) < _TEXTURED:
        return 0
    return int.from_bytes(np.packbits(steps > 0).tobytes(), "little") or 1


def fit_of(grey: NDArray[Any], label_map: NDArray[Any]) -> tuple[float, ...]:
    """Return how much stronger the image's edges are on outlines than elsewhere.

    Args:
        grey: (H, W).
        label_map: (H, W) whole numbers, outlines between different ones.

    Returns:
        One number for each of `WAYS` that keeps the size, 1 being chance; none without outlines.
    """
    size = _small(grey.shape)
    image = _shrunk(grey.astype(np.float32), size)
    labels = _nearest(label_map, size)
    outline = _outline(labels)
    if outline.sum() < _LEAST_EDGE or outline.mean() > 0.4:
        return ()
    edges = np.hypot(ndimage.sobel(image, axis=0), ndimage.sobel(image, axis=1))
    mean = float(edges.mean())
    if mean <= 0:
        return ()
    turned = _turned(outline)
    return tuple(float(edges[each].mean()) / mean for each in turned if each.shape == edges.shape)


def grey_of(array: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) of an image (H, W) or (H, W, C)."""
    return array if array.ndim == 2 else array[..., :3].mean(axis=-1, dtype=np.float32)


def _turned(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    return [
        mask,
        mask[:, ::-1],
        mask[::-1],
        mask[::-1, ::-1],
        mask.T,
        np.rot90(mask),
        np.rot90(mask, 3),
        mask.T[::-1, ::-1],
    ]


def _outline(labels: NDArray[Any]) -> NDArray[np.bool_]:
    outline = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    outline[1:] |= down
    outline[:-1] |= down
    outline[:, 1:] |= right
    outline[:, :-1] |= right
    return outline


def _small(size: tuple[int, ...]) -> tuple[int, int]:
    scale = min(1.0, _SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _shrunk(image: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    finite = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    resized = Image.fromarray(finite).resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.float32)


def _nearest(labels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.intp)
    return np.asarray(labels[rows[:, None], columns[None, :]])
