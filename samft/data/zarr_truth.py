"""The label images of an OME-Zarr as the truth of its image, read plane by plane, part by part."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import ClassTable
from samft.data.image_labels import label_objects
from samft.data.label_maps import values_of
from samft.data.objects import ObjectMode, Objects, stack_filled
from samft.data.readers.image import whole_numbers
from samft.data.readers.limits import reading
from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.readers.part import cut_window
from samft.data.records import Window

_log = logging.getLogger(__name__)
_EXPECTED = "a label image of whole numbers"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelClasses:
    """Which class the values of a label image have.

    Args:
        class_of: Class index of values.
        others: Class index of all other positive values; `None` makes them background.
        named: All values whose class the file names, wanted or not; of what is not among them
            nothing is known. `None` if the file names none.
        table: The classes of values that the user named, in place of the above.
    """

    class_of: Mapping[int, int]
    others: int | None = None
    named: frozenset[int] | None = None
    table: ClassTable | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ZarrLayer:
    """One label image; each of its channels is a layer of objects.

    Args:
        image: Where it is read from.
        level: The resolution at which it has the size of its image.
        classes: What its values mean.
        mode: What an object is in it, unless all of a class is asked for; `None` leaves it open.
    """

    image: OmeZarrImage
    level: int
    classes: LabelClasses
    mode: ObjectMode | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ZarrTruth:
    """The label images of one image, see `samft.data.truth.Truth`.

    Args:
        size: (H, W), or (planes, H, W).
        layers: The label images.
        ignore_value: The value that means "nothing is known here".
        threshold: Read them as binary: 1 from this value on.
    """

    size: tuple[int, ...]
    layers: tuple[ZarrLayer, ...]
    ignore_value: int | None = None
    threshold: float | None = None

    @property
    def nbytes(self) -> int:
        """Nothing stays in memory."""
        return 0

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`; reads no more than the part that is asked for.

        Raises:
            DatasetError: if a label image is damaged, or holds values that are no labels or have no
                class.
        """
        parts = [
            self._objects(labels, layer, mode)
            for layer in self.layers
            for labels in _read(layer, at or (0, 0), window)
        ]
        return stack_filled(parts)

    def _objects(self, stored: NDArray[Any], layer: ZarrLayer, mode: ObjectMode) -> Objects:
        folder, classes = layer.image.folder, layer.classes
        with reading(folder, _EXPECTED):
            if self.threshold is not None:
                stored = (stored >= self.threshold).astype(np.int32)
            labels = stored if stored.dtype.kind in "ui" else whole_numbers(stored, folder)
            class_of, others = classes.class_of, classes.others
            if classes.table is not None:
                class_of, others = classes.table.of_values(values_of(labels), folder), None
            elif classes.named is not None:
                labels = _without_unnamed(labels, classes.named, self.ignore_value, folder)
            chosen = mode if mode == "class" else layer.mode or mode
            return label_objects(
                labels, class_of, others=others, mode=chosen, ignore_value=self.ignore_value
            )


def _read(layer: ZarrLayer, at: tuple[int, int], window: Window | None) -> NDArray[Any]:
    """Return the (channels, H, W) of a slice, or a part of it."""
    axis, index = at
    if axis == 0:
        return layer.image.plane(index, window=window, level=layer.level)
    slices = layer.image.across(axis, index, level=layer.level)
    if window is None:
        return slices
    return np.moveaxis(cut_window(np.moveaxis(slices, 0, -1), window, layer.image.folder), -1, 0)


def _without_unnamed(
    labels: NDArray[Any], named: frozenset[int], ignore_value: int | None, folder: Path
) -> NDArray[Any]:
    """Make values whose class the file does not name unknown: neither object nor background."""
    strange = [v for v in values_of(labels) if v > 0 and v not in named and v != ignore_value]
    if not strange:
        return labels
    _say_unnamed(folder)
    return np.where(np.isin(labels, strange), -1, labels.astype(np.int64))


@lru_cache(maxsize=4096)
def _say_unnamed(folder: Path) -> None:
    _log.warning(
        "%s names the class of some values but not of all: of the others nothing is known", folder
    )
