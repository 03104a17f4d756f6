"""From classes and borders to single objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.data.objects import TOUCHING

_SPECK = 4  # pixels; what the borders cut off smaller than this is no object of its own


def separate(mask: NDArray[np.bool_], border: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Split a class into objects along the borders.

    A connected piece of the class that the borders cut into several becomes as many objects: each
    pixel goes to the part that is nearest. A piece that they do not cut, or cover, is one object.

    Args:
        mask: (H, W), the pixels of a class.
        border: (H, W), the pixels between touching objects.

    Returns:
        (H, W) label map and the number of objects in it.

    Source: the border channel is that of the winners of the Data Science Bowl 2018, Caicedo et al.
    2019, Nature Methods 16.
    """
    pieces, count = ndimage.label(mask, TOUCHING)
    labels = np.zeros(mask.shape, np.int32)
    total = 0
    for number, window in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[window] == number
        parts, several = _parts(piece, border[window])
        labels[window][piece] = parts[piece] + total
        total += several
    assert total >= count
    return labels, total


def label_layers(classes: NDArray[np.bool_], border: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Split every class into objects, numbered through all classes.

    Args:
        classes: (C, H, W), the pixels of each class.
        border: (H, W), see `separate`.

    Returns:
        (C, H, W) label layers, one per class.
    """
    layers = np.zeros(classes.shape, np.int32)
    total = 0
    for layer, mask in zip(layers, classes, strict=True):
        labels, count = separate(mask, border)
        layer[:] = np.where(labels > 0, labels + total, 0)
        total += count
    return layers


def _parts(piece: NDArray[np.bool_], border: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Return the label map of one piece, from 1, and the number of its parts."""
    seeds, count = ndimage.label(piece & ~border, TOUCHING)
    areas = np.bincount(seeds.ravel(), minlength=count + 1)[1:]
    kept = np.flatnonzero(areas >= _SPECK) + 1
    if len(kept) < 2:
        return piece.astype(np.int32), 1
    numbers = np.zeros(count + 1, np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    seeded = numbers[seeds]
    nearest = ndimage.distance_transform_edt(
        seeded == 0, return_distances=False, return_indices=True
    )
    return seeded[tuple(nearest)], len(kept)
