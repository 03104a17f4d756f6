"""OME-Zarr labels, version 0.5: a group of label images for viewers that read parts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft._deps import require
from samft.inference.formats.base import ResultFormat
from samft.inference.overlay import PALETTE
from samft.inference.predictions import ImagePrediction, label_map
from samft.inference.volume_result import VolumeObject, VolumeResult

_VERSION = "0.5"
_NAME = "samft"
_SMALLEST = 256  # a plane that fits is not halved again
_CHUNK = 512
_MOST_COLOURS = 1000  # more would make the metadata slow to read; viewers colour the rest


class OmeZarrLabels(ResultFormat):
    """`ome_zarr/<name>.zarr/labels/samft`: labels in full size and halved until they are small.

    Images have axes y, x; volumes z, y, x in the order of the file's voxels, with their sizes in
    millimetres where the file states them. The folder `labels` may be moved into the OME-Zarr of
    the image.

    Source: OME-NGFF 0.5, section "labels metadata".
    """

    def write_image(self, prediction: ImagePrediction) -> list[Path]:
        """See `ResultFormat`; the planes of volumes are written with their volume."""
        if prediction.in_volume:
            return []
        labels = label_map(prediction.objects, prediction.size)
        objects = [
            VolumeObject(value=number, class_name=item.class_name, score=item.score)
            for number, item in enumerate(prediction.objects, start=1)
        ]
        return self._write(prediction.sample_id, labels, objects, spacing=None)

    def write_volume(self, volume: VolumeResult) -> list[Path]:
        """See `ResultFormat`."""
        geometry = volume.space.geometry
        spacing = None
        if geometry is not None:
            sizes = np.linalg.norm(geometry.native_affine[:3, :3], axis=0)
            spacing = [float(size) for size in sizes[::-1]]
        return self._write(volume.name, volume.in_file_order(), list(volume.objects), spacing)

    def _write(
        self,
        name: str,
        labels: NDArray[Any],
        objects: list[VolumeObject],
        spacing: list[float] | None,
    ) -> list[Path]:
        zarr = require("zarr", extra="microscopy", purpose="write OME-Zarr labels")
        few = int(labels.max(initial=0)) <= np.iinfo(np.uint16).max
        array = labels.astype(np.uint16 if few else np.uint32)

        def fill(path: Path) -> None:
            root = zarr.open_group(path, mode="w", zarr_format=3)
            group = root.create_group("labels")
            group.attrs["ome"] = {"version": _VERSION, "labels": [_NAME]}
            image = group.create_group(_NAME)
            image.attrs["ome"] = _metadata(array.shape, objects, spacing)
            for level, part in enumerate(_levels(array)):
                chunks = tuple(min(side, _CHUNK) for side in part.shape)
                chunks = (min(16, chunks[0]), *chunks[1:]) if part.ndim == 3 else chunks
                image.create_array(str(level), data=part, chunks=chunks)

        place = self.folder.place("ome_zarr", name, ".zarr")
        return [self.folder.write(place, fill)]


def _count_levels(shape: tuple[int, ...]) -> int:
    return 1 + max(0, math.ceil(math.log2(max(shape[-2:]) / _SMALLEST)))


def _levels(labels: NDArray[Any]) -> list[NDArray[Any]]:
    # Every second pixel: the mean of two labels would be a third.
    steps = [2**level for level in range(_count_levels(labels.shape))]
    return [np.ascontiguousarray(labels[..., ::step, ::step]) for step in steps]


def _metadata(
    shape: tuple[int, ...], objects: list[VolumeObject], spacing: list[float] | None
) -> dict[str, Any]:
    names = "zyx"[-len(shape) :]
    unit = {} if spacing is None else {"unit": "millimeter"}
    scale = spacing or [1.0] * len(shape)
    datasets = []
    for level in range(_count_levels(shape)):
        factors = [1.0] * (len(shape) - 2) + [2.0**level] * 2
        sizes = [size * factor for size, factor in zip(scale, factors, strict=True)]
        transform = {"type": "scale", "scale": sizes}
        datasets.append({"path": str(level), "coordinateTransformations": [transform]})
    axes = [{"name": name, "type": "space", **unit} for name in names]
    return {
        "version": _VERSION,
        "multiscales": [{"name": _NAME, "axes": axes, "datasets": datasets}],
        "image-label": _image_label(objects),
    }


def _image_label(objects: list[VolumeObject]) -> dict[str, Any]:
    colours = [
        {"label-value": item.value, "rgba": [*PALETTE[item.value % len(PALETTE)], 255]}
        for item in objects[:_MOST_COLOURS]
    ]
    properties = [
        {
            "label-value": item.value,
            "predicted_iou": item.score,
            **({} if item.class_name is None else {"class": item.class_name}),
        }
        for item in objects
    ]
    # An empty list is not allowed where a list stands.
    found = {"colors": colours, "properties": properties}
    return {name: value for name, value in found.items() if value}
