"""The masks of all planes of a volume as one label array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.sources import VolumeSpace
from samft.errors import DatasetError
from samft.inference.disjoint import LabelledMasks
from samft.inference.linking import link
from samft.inference.predictions import ImagePrediction, ObjectPrediction, label_map
from samft.inference.volume_settings import LinkSettings

_Key = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeObject:
    """One object of a volume.

    Args:
        value: Its label.
        class_name: Its class, where it has one.
        score: Mean of the predicted IoU of its masks.
    """

    value: int
    class_name: str | None
    score: float


class VolumeResult:
    """What was predicted in a volume.

    Masks with the same `object_id` and class in several planes are one object. Masks without one
    are linked by their overlap with those of neighbouring planes, or are objects of their own.
    Where all identifiers are positive numbers they are the labels; otherwise objects are numbered
    from 1, in the order of the planes.

    Args:
        name: Name of the volume.
        space: Where its planes lie.
        plane: Returns the prediction of the plane with an index; `None` where none was asked for.
            Asked more than once, so that not all have to be in memory.
        linking: What makes masks of two planes the same object; `None` to link nothing.
    """

    def __init__(
        self,
        name: str,
        space: VolumeSpace,
        plane: Callable[[int], ImagePrediction | None],
        *,
        linking: LinkSettings | None = None,
    ) -> None:
        self.name = name
        self.space = space
        self.linking = linking
        self._plane = lru_cache(maxsize=4)(plane)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """(Z, Y, X) labels in canonical orientation, in the smallest unsigned type from 8 bits."""
        highest = max(self._values.values(), default=0)
        labels = np.zeros(self.space.shape, np.min_scalar_type(highest))
        for index, prediction in self._predictions():
            values = [0, *(self._value(index, number) for number in range(len(prediction.objects)))]
            numbers = label_map(prediction.objects, prediction.size)
            plane: list[Any] = [slice(None)] * 3
            plane[self.space.axis] = index
            labels[tuple(plane)] = np.array(values, labels.dtype)[numbers]
        return labels

    @cached_property
    def objects(self) -> tuple[VolumeObject, ...]:
        """The objects, by label; also those of which overlapping ones have left nothing."""
        members: dict[int, list[ObjectPrediction]] = {}
        for index, prediction in self._predictions():
            for number, item in enumerate(prediction.objects):
                members.setdefault(self._value(index, number), []).append(item)
        return tuple(
            VolumeObject(
                value=value,
                class_name=items[0].class_name,
                score=float(np.mean([item.score for item in items])),
            )
            for value, items in sorted(members.items())
        )

    def in_file_order(self) -> NDArray[Any]:
        """Return the labels as (k, j, i), the file's own axes with the last one first."""
        return np.ascontiguousarray(self.space.to_file_order(self.labels))

    def _predictions(self) -> Iterator[tuple[int, ImagePrediction]]:
        for index in range(self.space.planes):
            prediction = self._plane(index)
            if prediction is None:
                continue
            if prediction.size != self.space.plane_size:
                raise DatasetError(
                    "a slice is not of the volume's size",
                    where=prediction.sample_id,
                    found=prediction.size,
                    expected=self.space.plane_size,
                )
            yield index, prediction

    def _value(self, index: int, number: int) -> int:
        return self._values[self._keys[index, number]]

    @cached_property
    def _values(self) -> dict[_Key, int]:
        """The label of every object."""
        keys = list(dict.fromkeys(self._keys.values()))
        ids = [key[1] for key in keys if key[0] == "named"]
        if len(ids) == len(keys) == len(set(ids)) and all(_is_label(value) for value in ids):
            return {key: int(key[1]) for key in keys}
        return {key: number for number, key in enumerate(keys, start=1)}

    @cached_property
    def _keys(self) -> dict[tuple[int, int], _Key]:
        """For every mask, by plane and number, what tells its object from others."""
        tracks = self._tracks() if self.linking is not None else None
        keys: dict[tuple[int, int], _Key] = {}
        for index, prediction in self._predictions():
            for number, item in enumerate(prediction.objects):
                if item.object_id is not None:
                    keys[index, number] = "named", item.object_id, item.class_name
                elif tracks is not None:
                    keys[index, number] = "linked", int(tracks[index][number]), item.class_name
                else:
                    keys[index, number] = "lone", index, number
        return keys

    def _tracks(self) -> list[NDArray[np.int64]]:
        """Return for every plane the object of every mask, found by overlap."""
        assert self.linking is not None  # the caller has looked
        return link(self.space.planes, lru_cache(maxsize=4)(self._masks), self.linking).of_slice

    def _masks(self, index: int) -> LabelledMasks:
        prediction = self._plane(index)
        found = [] if prediction is None else prediction.objects
        labels = label_map(found, self.space.plane_size).astype(np.int32)
        return LabelledMasks(labels, np.array([item.score for item in found], np.float32))


def _is_label(value: object) -> bool:
    return isinstance(value, int) and 0 < value <= np.iinfo(np.int32).max
