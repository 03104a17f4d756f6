"""Class masks, flat or as a volume, to the objects of one image or slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import ClassTable
from samft.data.image_labels import label_objects
from samft.data.objects import (
    ObjectMode,
    Objects,
    from_class_map,
    stack_filled,
    stack_objects,
)
from samft.data.readers.image import read_label_map, whole_numbers
from samft.data.readers.tiff_stack import is_stack, read_stack
from samft.data.readers.volume import Segment
from samft.data.readers.volumes import is_volume, read_volume
from samft.data.records import Window
from samft.data.tiling import cut_window


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
    def size(self) -> tuple[int, ...]:
        """See `samft.data.truth.Truth`."""
        return self.layers.shape[1:]

    @property
    def nbytes(self) -> int:
        """See `samft.data.truth.Truth`."""
        return self.layers.nbytes

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`."""
        flat = cut_out(self.layers, at=at, window=window)
        parts = [
            from_class_map(
                layer.astype(np.int32), classes, mode=mode, ignore_value=self.ignore_value
            )
            for layer, classes in zip(flat, self.class_of, strict=True)
        ]
        return stack_filled(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceMask:
    """A mask with a value for every object, all of one class.

    Args:
        layers: (L, H, W) or (L, Z, Y, X) whole numbers; 0 is background.
        ignore_value: The value that means "nothing is known here".
    """

    layers: NDArray[Any]
    ignore_value: int | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """See `samft.data.truth.Truth`."""
        return self.layers.shape[1:]

    @property
    def nbytes(self) -> int:
        """See `samft.data.truth.Truth`."""
        return self.layers.nbytes

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`: each value is an object, or with `class` all together."""
        kept: ObjectMode = "class" if mode == "class" else "value"
        return stack_objects(
            [
                label_objects(layer, {}, others=0, mode=kept, ignore_value=self.ignore_value)
                for layer in cut_out(self.layers, at=at, window=window)
            ]
        )


def cut_out(
    layers: NDArray[Any], *, at: tuple[int, int] | None, window: Window | None
) -> NDArray[Any]:
    """Return the (L, H, W) of flat label layers, of one slice, or of a part of either.

    Args:
        layers: (L, H, W) or (L, Z, Y, X).
        at: (axis, index) of the slice, axis 0 to 2 for z, y, x.
        window: The part that is wanted.
    """
    flat = layers if at is None else np.take(layers, at[1], axis=at[0] + 1)
    return flat if window is None else cut_window(flat, window)


def read_class_mask(path: Path, table: ClassTable, *, threshold: float | None = None) -> ClassMask:
    """Read a mask file and look up the class of every value in it.

    Args:
        path: A flat image, a TIFF stack or a volume.
        table: The classes; for a file that names its segments, those of its names count.
        threshold: Read the mask as binary: 1 from this value on.

    Raises:
        DatasetError: if the file is unreadable, holds no whole numbers, or a value has no class.
    """
    layers, segments = read_label_layers(path, threshold=threshold)
    return class_mask(layers, segments, table=table, path=path)


def class_mask(
    layers: NDArray[Any], segments: Sequence[Segment], *, table: ClassTable, path: Path
) -> ClassMask:
    """Look up the class of every value in label layers.

    Args:
        layers: (L, H, W) or (L, Z, Y, X) whole numbers.
        segments: The segments that their file names, if it does.
        table: The classes.
        path: The file, for messages.

    Raises:
        DatasetError: if a value has no class.
    """
    if segments:
        class_of = [table.of_segments(segments, layer) for layer in range(len(layers))]
    else:
        class_of = [table.of_values(values_in(layer), path) for layer in layers]
    return ClassMask(layers=layers, class_of=tuple(class_of), ignore_value=table.ignore_value)


def read_label_layers(
    path: Path, *, threshold: float | None = None
) -> tuple[NDArray[Any], tuple[Segment, ...]]:
    """Read the label layers of a file, and the segments it names, if it does.

    Args:
        path: A flat image, a TIFF stack or a volume.
        threshold: Read the mask as binary: 1 from this value on.

    Returns:
        (L, H, W) or (L, Z, Y, X) in the smallest type of whole numbers that holds them.

    Raises:
        DatasetError: if the file is unreadable or holds no whole numbers.
    """
    segments: tuple[Segment, ...] = ()
    if is_volume(path):
        volume = read_volume(path)
        array, segments = volume.array, volume.segments
    elif is_stack(path):
        array = read_stack(path)
    else:
        array = read_label_map(path)[None]
    if threshold is not None:
        array = (array >= threshold).astype(np.uint8)
    return _smallest(whole_numbers(array, path)), segments


def _smallest(array: NDArray[np.int32]) -> NDArray[Any]:
    # Cached volumes stay four times smaller.
    lowest, highest = int(array.min()), int(array.max())
    return array.astype(np.result_type(np.min_scalar_type(lowest), np.min_scalar_type(highest)))


def values_in(layer: NDArray[Any]) -> list[int]:
    """Return the values that occur in a label layer, rising."""
    if layer.dtype == np.uint8:
        return [int(v) for v in np.flatnonzero(np.bincount(layer.reshape(-1), minlength=256))]
    return [int(v) for v in np.unique(layer)]
