"""Masks that lie on top of each other: structures that overlap, regions, a file per object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.labels import ClassMask, cut_out
from samft.data.objects import (
    ObjectMode,
    Objects,
    from_class_map,
    from_masks,
    stack_filled,
)
from samft.data.records import Window
from samft.types import IGNORE


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaskLayer:
    """One of the masks.

    Args:
        values: (H, W) or (Z, Y, X) whole numbers; layers may share an array.
        class_of: Class index of every value that is an object.
        joined: Whether connected pieces run across the values of a class: a region, or a mask whose
            edges are not exactly of one value.
        single: Whether each value is one object, however many pieces it has.
    """

    values: NDArray[Any]
    class_of: Mapping[int, int]
    joined: bool = False
    single: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayeredMask:
    """Masks of one image or volume, see `samft.data.truth.Truth`.

    Args:
        size: (H, W) or (Z, Y, X), also where there is no mask.
        layers: The masks, all of that size.
        ignore_value: The value that means "nothing is known here".
    """

    size: tuple[int, ...]
    layers: tuple[MaskLayer, ...] = ()
    ignore_value: int | None = None

    @property
    def nbytes(self) -> int:
        """See `samft.data.truth.Truth`."""
        return sum({id(layer.values): layer.values.nbytes for layer in self.layers}.values())

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """See `samft.data.truth.Truth`."""
        cut: dict[int, NDArray[np.int32]] = {}
        layers = []
        for layer in self.layers:
            if id(layer.values) not in cut:
                flat = cut_out(layer.values[None], at=at, window=window)[0]
                cut[id(layer.values)] = np.ascontiguousarray(flat, np.int32)
            layers.append(replace(layer, values=cut[id(layer.values)]))
        if not layers:
            return from_masks([], self._flat_size(at, window))
        if mode == "class":
            return self._classes(layers)
        parts = [self._pieces(layer, mode) for layer in layers]
        return stack_filled(parts)

    def _pieces(self, layer: MaskLayer, mode: ObjectMode) -> Objects:
        ignore = self.ignore_value
        if layer.single or mode == "value":
            return from_class_map(layer.values, layer.class_of, mode="class", ignore_value=ignore)
        if not layer.joined:
            return from_class_map(layer.values, layer.class_of, mode=mode, ignore_value=ignore)
        classes = sorted(set(layer.class_of.values()))
        joined = np.where(self._unknown(layer.values), IGNORE, 0).astype(np.int32)
        for index in classes:
            joined[_of_class(layer, index)] = index + 1
        return from_class_map(joined, {index + 1: index for index in classes}, mode=mode)

    def _classes(self, layers: Sequence[MaskLayer]) -> Objects:
        """Return each class as one object, put together from all layers."""
        size = layers[0].values.shape
        found: dict[int, NDArray[np.bool_]] = {}
        for layer in layers:
            for index in set(layer.class_of.values()):
                inside = _of_class(layer, index)
                found[index] = found[index] | inside if index in found else inside
        classes = [index for index in sorted(found) if found[index].any()]
        objects = from_masks((found[index] for index in classes), (size[0], size[1]))
        unknown = np.zeros(size, bool)
        for layer in layers:
            unknown |= self._unknown(layer.values)
        objects.layers[(objects.layers == 0) & unknown] = IGNORE
        return replace(objects, object_class=np.array(classes, np.int64))

    def _unknown(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        negative: NDArray[np.bool_] = values < 0
        return negative if self.ignore_value is None else negative | (values == self.ignore_value)

    def _flat_size(self, at: tuple[int, int] | None, window: Window | None) -> tuple[int, int]:
        if window is not None:
            return window[2], window[3]
        sides = [side for axis, side in enumerate(self.size) if at is None or axis != at[0]]
        return sides[0], sides[1]


def layers_of(mask: ClassMask, *, joined: bool = False) -> list[MaskLayer]:
    """Return the layers of a class mask, to be put on top of others.

    Args:
        mask: The mask.
        joined: See `MaskLayer`.
    """
    return [
        MaskLayer(values=values, class_of=classes, joined=joined)
        for values, classes in zip(mask.layers, mask.class_of, strict=True)
    ]


def pack_objects(
    masks: Iterable[tuple[NDArray[np.bool_], int]], size: tuple[int, ...], *, count: int
) -> LayeredMask:
    """Put masks of one object each into as few layers as their overlaps allow.

    Args:
        masks: (H, W) or (Z, Y, X) masks with the class index of each.
        size: Their size.
        count: How many there are, at most.
    """
    kind = np.min_scalar_type(count)
    layers: list[tuple[NDArray[Any], dict[int, int]]] = []
    for number, (mask, index) in enumerate(masks, start=1):
        free = (layer for layer in layers if not layer[0][mask].any())
        chosen = next(free, None)
        if chosen is None:
            chosen = (np.zeros(size, kind), {})
            layers.append(chosen)
        chosen[0][mask] = number
        chosen[1][number] = index
    return LayeredMask(
        size=size,
        layers=tuple(MaskLayer(values=v, class_of=c, single=True) for v, c in layers),
    )


def _of_class(layer: MaskLayer, index: int) -> NDArray[np.bool_]:
    return np.isin(layer.values, [value for value, c in layer.class_of.items() if c == index])
