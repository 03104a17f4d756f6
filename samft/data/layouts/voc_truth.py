"""The objects of an image of Pascal VOC, from its two masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.labels import cut_out, values_in
from samft.data.objects import (
    ObjectMode,
    Objects,
    from_class_map,
    from_label_map,
    stack_objects,
)
from samft.data.readers.voc import VOID, VocNames, read_class_map, read_object_map
from samft.data.records import Window
from samft.errors import DatasetError
from samft.types import IGNORE


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VocTruth:
    """The objects of one image.

    Args:
        class_map: (H, W) values of the classes, `VOID` where nothing is known.
        object_map: (H, W) values of the objects, 0 where there is none.
        class_of: Class index of each value of `class_map` that counts.
        class_of_object: Class index of each value of `object_map` that counts.
    """

    class_map: NDArray[Any]
    object_map: NDArray[Any] | None
    class_of: Mapping[int, int]
    class_of_object: Mapping[int, int]

    @property
    def size(self) -> tuple[int, ...]:
        """See `samft.data.truth.Truth`."""
        return self.class_map.shape

    @property
    def nbytes(self) -> int:
        """See `samft.data.truth.Truth`."""
        return self.class_map.nbytes + (0 if self.object_map is None else self.object_map.nbytes)

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`.

        Where an object mask tells the objects apart, these are the objects, unless all of a class
        is wanted. Of a class pixel in no object, the connected piece is one.
        """
        classes = cut_out(self.class_map[None], at=at, window=window)[0].astype(np.int32)
        if self.object_map is None or mode == "class":
            return from_class_map(classes, self.class_of, mode=mode, ignore_value=VOID)
        ids = cut_out(self.object_map[None], at=at, window=window)[0].astype(np.int32)
        rest = np.where(ids == 0, classes, np.where(classes == VOID, VOID, 0))
        whole = _numbered(np.where(classes == VOID, IGNORE, ids), self.class_of_object)
        pieces = from_class_map(rest, self.class_of, mode="component", ignore_value=VOID)
        return whole if not pieces.object_class.size else stack_objects([whole, pieces])


def read_voc_truth(
    class_path: Path, object_path: Path | None, names: VocNames, class_index: Mapping[str, int]
) -> VocTruth:
    """Read the masks of one image.

    Args:
        class_path: The class mask: PNG, or NumPy's .npy as labelme writes it.
        object_path: The object mask, if there is one.
        names: The classes of the masks.
        class_index: The index of each class that counts.

    Raises:
        DatasetError: if a mask is damaged, their sizes differ, or a value has no class.
    """
    class_map = read_class_map(class_path, names)
    present = [value for value in values_in(class_map) if value not in (0, VOID)]
    _refuse_unknown(present, names, class_path)
    class_of = {
        value: class_index[names.by_value[value]]
        for value in present
        if names.by_value[value] in class_index
    }
    object_map = (
        None if object_path is None else read_object_map(object_path, class_path, class_map)
    )
    class_of_object = {} if object_map is None else _classes_of(object_map, class_map, class_of)
    return VocTruth(
        class_map=class_map,
        object_map=object_map,
        class_of=class_of,
        class_of_object=class_of_object,
    )


def _numbered(ids: NDArray[np.int32], class_of: Mapping[int, int]) -> Objects:
    """Return the objects whose class counts."""
    counted = np.isin(ids, [IGNORE, *class_of])
    found = from_label_map(np.where(counted, ids, 0).astype(np.int32))
    present = np.unique(ids[counted & (ids > 0)])
    classes = np.array([class_of[value] for value in present.tolist()], np.int64)
    return replace(found, object_class=classes)


def _classes_of(
    object_map: NDArray[Any], class_map: NDArray[Any], class_of: Mapping[int, int]
) -> dict[int, int]:
    """Return the class index of each object: that of most of its pixels."""
    inside = (object_map > 0) & (class_map != VOID) & (class_map != 0)
    pairs = np.stack([object_map[inside], class_map[inside]]).astype(np.int64)
    (objects, classes), counts = np.unique(pairs, axis=1, return_counts=True)
    order = np.lexsort((counts, objects))  # of each object, the most frequent class comes last
    most = dict(zip(objects[order].tolist(), classes[order].tolist(), strict=True))
    return {value: class_of[number] for value, number in most.items() if number in class_of}


def _refuse_unknown(present: Sequence[int], names: VocNames, class_path: Path) -> None:
    unknown = [value for value in present if value not in names.by_value]
    if unknown:
        raise DatasetError(
            "the class mask holds values that have no class name",
            where=class_path,
            found=", ".join(map(str, unknown[:8])),
            expected=f"0, {VOID} and " + _some_names(names),
            fix="put class_names.txt with one name a line beside the masks, _background_ first, or "
            "set data.classes to names by value",
        )


def _some_names(names: VocNames) -> str:
    shown = [f"{value} {name}" for value, name in list(names.by_value.items())[:6]]
    return ", ".join(shown) + (", ..." if len(names.by_value) > len(shown) else "")
