"""Class masks, flat or as a volume, to the objects of one image or slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import ClassTable
from samft.data.objects import ObjectMode, Objects, from_class_map, stack_objects
from samft.data.readers.image import read_label_map, whole_numbers
from samft.data.readers.volume import Segment
from samft.data.readers.volumes import is_volume, read_volume


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMask:
    """A mask whose values are classes.

    Args:
        layers: (L, H, W) or (L, Z, Y, X) whole numbers; classes that overlap lie in different
            layers.
        class_of: For each layer, the class index of every value that is an object.
        ignore_value: The value that means "nothing is known here".
    """

    layers: NDArray[Any]
    class_of: tuple[dict[int, int], ...]
    ignore_value: int | None = None

    @property
    def nbytes(self) -> int:
        """Size in memory, bytes."""
        return self.layers.nbytes

    def objects(self, mode: ObjectMode, *, at: tuple[int, int] | None = None) -> Objects:
        """Return the objects of a flat mask, or of one slice of a volume.

        Args:
            mode: Whether an object is a class or a connected piece of one.
            at: (axis, index) of the slice, axis 0 to 2 for z, y, x.
        """
        flat = self.layers if at is None else np.take(self.layers, at[1], axis=at[0] + 1)
        parts = [
            from_class_map(
                layer.astype(np.int32), classes, mode=mode, ignore_value=self.ignore_value
            )
            for layer, classes in zip(flat, self.class_of, strict=True)
        ]
        filled = [part for part in parts if part.object_class.size or part.layers.any()]
        return stack_objects(filled or parts[:1])


def read_class_mask(path: Path, table: ClassTable, *, threshold: float | None = None) -> ClassMask:
    """Read a mask file and look up the class of every value in it.

    Args:
        path: A flat image or a volume.
        table: The classes; for a file that names its segments, those of its names count.
        threshold: Read the mask as binary: 1 from this value on.

    Raises:
        DatasetError: if the file is unreadable, holds no whole numbers, or a value has no class.
    """
    segments: tuple[Segment, ...] = ()
    if is_volume(path):
        volume = read_volume(path)
        array, segments = volume.array, volume.segments
    else:
        array = read_label_map(path)[None]
    if threshold is not None:
        array = (array >= threshold).astype(np.uint8)
    array = _smallest(whole_numbers(array, path))
    if segments:
        class_of = [table.of_segments(segments, layer) for layer in range(len(array))]
    else:
        class_of = [table.of_values(_values(layer), path) for layer in array]
    return ClassMask(layers=array, class_of=tuple(class_of), ignore_value=table.ignore_value)


def _smallest(array: NDArray[np.int32]) -> NDArray[Any]:
    # Cached volumes stay four times smaller.
    lowest, highest = int(array.min()), int(array.max())
    return array.astype(np.result_type(np.min_scalar_type(lowest), np.min_scalar_type(highest)))


def _values(layer: NDArray[Any]) -> list[int]:
    if layer.dtype == np.uint8:
        return [int(v) for v in np.flatnonzero(np.bincount(layer.reshape(-1), minlength=256))]
    return [int(v) for v in np.unique(layer)]
