"""Label images in which each value is an object, with classes of their own, to objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.data.label_maps import renumber, values_of
from samft.data.objects import TOUCHING, ObjectMode, Objects
from samft.types import IGNORE


def label_objects(
    label_map: NDArray[Any],
    class_of: Mapping[int, int],
    *,
    others: int | None = None,
    mode: ObjectMode,
    ignore_value: int | None = None,
) -> Objects:
    """Take every value as an object, its connected pieces, or all values of a class together.

    Of pixels with a negative value nothing is known, as of those with `ignore_value`.

    Args:
        label_map: (H, W) whole numbers of any type; 0 is background.
        class_of: Class index of values.
        others: Class index of all positive values that are not in it; `None` makes them background.
        mode: What an object is.
        ignore_value: The value that means "nothing is known here".
    """
    values = [
        value
        for value in values_of(label_map)
        if value > 0 and value != ignore_value and (value in class_of or others is not None)
    ]
    classes = np.array([class_of.get(value, others) for value in values], np.int64)
    ids = renumber(label_map, np.array(values, np.int64), negative=IGNORE)
    if ignore_value is not None:
        ids[label_map == ignore_value] = IGNORE
    if mode == "class":
        ids, classes = _joined(ids, classes)
    elif mode == "component":
        ids, classes = _pieces(ids, classes)
    return Objects(
        layers=ids[None], object_layer=np.zeros(classes.size, np.int64), object_class=classes
    )


def _joined(
    ids: NDArray[np.int32], classes: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    present = np.unique(classes)
    # The last row is that of IGNORE, which is -1.
    numbers = np.zeros(classes.size + 2, np.int32)
    numbers[1:-1] = np.searchsorted(present, classes) + 1
    numbers[-1] = IGNORE
    return numbers[ids], present


def _pieces(
    ids: NDArray[np.int32], classes: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    result = np.minimum(ids, 0)
    counts = np.zeros(classes.size, np.int64)
    done = 0
    for place, box in enumerate(ndimage.find_objects(np.maximum(ids, 0))):
        inside = ids[box] == place + 1
        pieces, counts[place] = ndimage.label(inside, TOUCHING)
        result[box][inside] = pieces[inside].astype(np.int32) + done
        done += int(counts[place])
    return result, np.repeat(classes, counts)
