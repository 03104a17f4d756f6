"""What DICOM objects that label images have in common: what they refer to, how they are layered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.dicom import DicomSeries
from samft.data.readers.dicom_file import items, key_of
from samft.data.readers.limits import check_declared_size
from samft.data.readers.volume import Segment

LabelKind = Literal["SEG", "RTSTRUCT"]
Planes = Mapping[int, NDArray[np.bool_]]
"""The (rows, columns) masks of one segment by the number of the image they lie in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """The images that an object says it belongs to, as keys; see `key_of`.

    Args:
        series: Series.
        instances: Files, or files whose frames it names.
        frames_of_reference: What its positions refer to.
    """

    series: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    frames_of_reference: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelObject:
    """The header of a segmentation or a structure set.

    Args:
        path: The file.
        kind: What it is.
        names: The names of its segments or structures, in its order, each once.
        size: (rows, columns) of its frames, if it has frames.
        references: The images it belongs to.
    """

    path: Path
    kind: LabelKind
    names: tuple[str, ...]
    size: tuple[int, int] | None
    references: References


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelLayers:
    """Segments of one object on the grid of a series.

    Args:
        layers: (L, Z, Y, X) unsigned, in the canonical orientation of the series.
        segments: The segments, each with its value and layer.
        dropped: How many parts could not be used, by what they are.
    """

    layers: NDArray[Any]
    segments: tuple[Segment, ...]
    dropped: Mapping[str, int]


class LayerStack:
    """Puts segments on top of each other: in one layer as long as they do not overlap.

    Args:
        path: The file they come from, for messages.
        series: The images they belong to.
        highest: The largest value that a segment will have.
    """

    def __init__(self, path: Path, series: DicomSeries, highest: int) -> None:
        self._path = path
        self._series = series
        self._shape = (series.images, *series.size)
        self._dtype = np.min_scalar_type(highest)
        self._layers: list[NDArray[Any]] = []
        self._segments: list[Segment] = []

    def add(self, name: str, value: int, planes: Planes) -> None:
        """Add a segment, in the first layer where it covers nothing else."""
        free = (i for i in range(len(self._layers)) if not self._covers(i, planes))
        chosen = next(free, len(self._layers))
        for image, mask in planes.items():
            self.layer(chosen)[image][mask] = value
        self.name(name, value, chosen if planes else 0)

    def name(self, name: str, value: int, layer: int) -> None:
        """Name a value of a layer."""
        self._segments.append(Segment(name=name, value=value, layer=layer))

    def layer(self, index: int) -> NDArray[Any]:
        """Return a layer (K, rows, columns), new and empty if it is the next one.

        Raises:
            DatasetError: if so many layers are larger than allowed.
        """
        if index == len(self._layers):
            check_declared_size(self._path, (index + 1, *self._shape), self._dtype.itemsize)
            self._layers.append(np.zeros(self._shape, self._dtype))
        return self._layers[index]

    def finish(self, dropped: Mapping[str, int]) -> LabelLayers:
        """Turn the layers the way the series is turned."""
        if not self._layers:
            self.layer(0)
        stack = self._layers[0][None] if len(self._layers) == 1 else np.stack(self._layers)
        geometry = self._series.geometry
        if geometry is not None:
            stack = geometry.to_canonical(stack.transpose(3, 2, 1, 0))
        return LabelLayers(
            layers=np.ascontiguousarray(stack), segments=tuple(self._segments), dropped=dropped
        )

    def _covers(self, index: int, planes: Planes) -> bool:
        layer = self._layers[index]
        return any(bool(layer[image][mask].any()) for image, mask in planes.items())


def referenced(found: Iterable[Any]) -> frozenset[str]:
    """Return the instances that the items of reference sequences name."""
    keys = (key_of(item.get("ReferencedSOPInstanceUID")) for item in found)
    return frozenset(key for key in keys if key)


def places_of(item: Any) -> list[tuple[str, int | None]]:  # Any: pydicom
    """Return the image, or the frames of it, that an item of a reference sequence names.

    Frames are numbered from 0.
    """
    instance = key_of(item.get("ReferencedSOPInstanceUID"))
    stated = item.get("ReferencedFrameNumber")
    if not instance:
        return []
    if stated is None or stated == "":
        return [(instance, None)]
    listed = stated if hasattr(stated, "__len__") and not isinstance(stated, str) else [stated]
    return [(instance, int(number) - 1) for number in listed]


class SeriesPlanes:
    """Finds the images of a series by what refers to them.

    Args:
        series: The series.
    """

    def __init__(self, series: DicomSeries) -> None:
        self._places: dict[tuple[str, int | None], int] = {}
        frames = series.frames or ((0, None),) * series.images
        for image, (key, (_, frame)) in enumerate(zip(series.keys.instances, frames, strict=True)):
            self._places[key, frame] = image
        self._frames_of = Counter(series.keys.instances)

    def named(self, item: Any) -> list[int]:  # Any: pydicom
        """Return the images that an item of a reference sequence names, if they are of the series.

        A file of one frame needs no frame number; one of several does.
        """
        found = [self._find(instance, frame) for instance, frame in places_of(item)]
        return [image for image in found if image is not None]

    def _find(self, instance: str, frame: int | None) -> int | None:
        if frame is None and self._frames_of[instance] == 1:
            return self._places.get((instance, None), self._places.get((instance, 0)))
        if frame == 0 and (instance, None) in self._places:
            return self._places[instance, None]
        return self._places.get((instance, frame))


def label_references(data: Any) -> frozenset[str]:  # Any: pydicom
    """Return the instances that a segmentation's reference sequences name."""
    listed = [
        item
        for series in items(data, "ReferencedSeriesSequence")
        for item in items(series, "ReferencedInstanceSequence")
    ]
    for study in items(data, "StudiesContainingOtherReferencedInstancesSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            listed += items(series, "ReferencedInstanceSequence")
    return referenced([*listed, *items(data, "SourceImageSequence")])
