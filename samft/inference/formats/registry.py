"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from samft.inference.formats.base import ResultFormat
from samft.inference.formats.coco import CocoNumbers
from samft.inference.formats.dicom_codes import DicomCodes
from samft.inference.output_folder import OutputFolder
from samft.result_formats import Format


@dataclass(frozen=True, kw_only=True, slots=True)
class FormatOptions:
    """What some formats want to know.

    Args:
        class_names: COCO categories to list even when nothing was found.
        coco_numbers: The numbers of images and categories in an annotation file.
        dicom_codes: What the segments of a DICOM segmentation are.
    """

    class_names: tuple[str, ...] = ()
    coco_numbers: CocoNumbers | None = None
    dicom_codes: DicomCodes | None = None


FORMATS: Final[dict[Format, tuple[str, str]]] = {
    "png": ("labels", "LabelPng"),
    "tiff": ("labels", "LabelTiff"),
    "masks": ("labels", "SingleMasks"),
    "coco": ("coco", "CocoInstances"),
    "coco_results": ("coco", "CocoResults"),
    "sa1b": ("sa1b", "Sa1bJson"),
    "nifti": ("nifti", "NiftiLabels"),
    "dicom_seg": ("dicom_seg", "DicomSegmentation"),
    "ome_zarr": ("ome_zarr", "OmeZarrLabels"),
    "geojson": ("geojson", "GeoJson"),
    "overlay": ("pictures", "OverlayPng"),
}
"""Module and class of every format."""

_WANTED: Final[dict[str, Callable[[FormatOptions], dict[str, Any]]]] = {
    "coco": lambda options: {"class_names": options.class_names},
    "coco_results": lambda options: {
        "class_names": options.class_names,
        "numbers": options.coco_numbers,
    },
    "dicom_seg": lambda options: {"codes": options.dicom_codes},
}


def _nothing(options: FormatOptions) -> dict[str, Any]:  # noqa: ARG001  # as those of `_WANTED`
    return {}


def build_formats(
    names: Sequence[Format], folder: OutputFolder, options: FormatOptions | None = None
) -> list[ResultFormat]:
    """Return what writes the formats.

    Args:
        names: Which; each once.
        folder: Where results go.
        options: What some of them want to know.
    """
    chosen = options or FormatOptions()
    formats: list[ResultFormat] = []
    for name in dict.fromkeys(names):
        module, kind = FORMATS[name]
        build = getattr(import_module(f"samft.inference.formats.{module}"), kind)
        formats.append(build(folder, **_WANTED.get(name, _nothing)(chosen)))
    return formats
