"""How large the pixels of a TIFF are, wherever its writer said so."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from samft.data.readers.lengths import in_millimetres
from samft.data.readers.tiff_axes import opened

_EXPECTED = "a TIFF image"
_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.eE+-]+)")
_UNITS = {2: "inch", 3: "cm"}
# Dots per inch that programs write when nobody told them anything.
_NO_STATEMENT = frozenset({1.0, 72.0, 96.0})

Spacing = tuple[float | None, float, float]
"""Voxel size (z, y, x), millimetres; z is `None` where nothing is said about it."""


def read_tiff_spacing(path: Path) -> tuple[float, float] | None:
    """Return the pixel size (y, x) in millimetres, `None` if the file does not state it.

    In this order: OME-XML, ImageJ, the notes of LSM, Aperio, FEI and Zeiss microscopes, and the
    resolution tags, unless these hold a default (1, 72 or 96 dots per inch).

    Raises:
        DatasetError: if the file is damaged.
    """
    found = read_tiff_voxel(path)
    return None if found is None else found[1:]


def read_tiff_voxel(path: Path) -> Spacing | None:
    """Return the voxel size (z, y, x) in millimetres; see `read_tiff_spacing`.

    Raises:
        DatasetError: if the file is damaged.
    """
    sources: tuple[Callable[[Any], Spacing | None], ...] = (
        _from_ome,
        _from_imagej,
        _from_lsm,
        _from_aperio,
        _from_electron_microscope,
        _from_tags,
    )
    with opened(path, _EXPECTED) as file:
        for source in sources:
            found = source(file)
            if found is not None:
                return found
    return None


def _from_ome(file: Any) -> Spacing | None:  # Any: tifffile has no types
    match = _PIXELS.search(file.ome_metadata or "") if file.is_ome else None
    if match is None:
        return None
    sizes = [_ome_size(match.group(), axis) for axis in "ZYX"]
    return _complete(*sizes)


def _ome_size(tag: str, axis: str) -> float | None:
    def attribute(name: str) -> str | None:
        found = re.search(rf"\b{name}\s*=\s*(\"[^\"]*\"|'[^']*')", tag)
        return None if found is None else found.group(1)[1:-1]

    unit = attribute(f"PhysicalSize{axis}Unit")
    return in_millimetres(attribute(f"PhysicalSize{axis}"), "um" if unit is None else unit)


def _from_imagej(file: Any) -> Spacing | None:  # Any: tifffile has no types
    notes = file.imagej_metadata if file.is_imagej else None
    if not isinstance(notes, Mapping) or "unit" not in notes:
        return None
    sides = []
    for axis, tag in (("y", "YResolution"), ("x", "XResolution")):
        own = notes.get(f"{axis}unit", notes["unit"])
        per_unit = _ratio(file.pages[0].tags.get(tag))
        sides.append(in_millimetres(1 / per_unit, own) if per_unit else None)
    depth = notes.get("spacing")
    size = abs(depth) if isinstance(depth, int | float) else None  # negative: bottom to top
    return _complete(in_millimetres(size, notes.get("zunit", notes["unit"])), *sides)


def _from_lsm(file: Any) -> Spacing | None:  # Any: tifffile has no types
    notes = file.lsm_metadata if file.is_lsm else None
    if not isinstance(notes, Mapping):
        return None
    return _complete(*(in_millimetres(notes.get(f"VoxelSize{axis}"), "m") for axis in "ZYX"))


def _from_aperio(file: Any) -> Spacing | None:  # Any: tifffile has no types
    match = _APERIO.search(file.pages[0].description or "") if file.is_svs else None
    size = None if match is None else in_millimetres(match.group(1), "um")
    return _complete(None, size, size)


def _from_electron_microscope(file: Any) -> Spacing | None:  # Any: tifffile has no types
    if file.is_fei and isinstance(file.fei_metadata, Mapping):
        scan = file.fei_metadata.get("Scan") or file.fei_metadata.get("EScan") or {}
        sides = (in_millimetres(scan.get(f"Pixel{side}"), "m") for side in ("Height", "Width"))
        return _complete(None, *sides)
    if file.is_sem and isinstance(file.sem_metadata, Mapping):
        notes = file.sem_metadata
        for key in ("ap_image_pixel_size", "ap_pixel_size"):
            stated = notes.get(key)
            if isinstance(stated, tuple) and len(stated) == 3:
                size = in_millimetres(stated[1], stated[2])
                return _complete(None, size, size)
    return None


def _from_tags(file: Any) -> Spacing | None:  # Any: tifffile has no types
    tags = file.pages[0].tags
    kind = tags.get("ResolutionUnit")
    unit = _UNITS.get(2 if kind is None else int(kind.value))
    per_unit = [_ratio(tags.get(name)) for name in ("YResolution", "XResolution")]
    if unit is None or None in per_unit:
        return None
    inches = [round(value or 0, 2) for value in per_unit] if unit == "inch" else []
    if inches and set(inches) <= _NO_STATEMENT:
        return None
    return _complete(None, *(in_millimetres(1 / value, unit) for value in per_unit if value))


def _ratio(tag: Any) -> float | None:  # Any: tifffile has no types
    if tag is None:
        return None
    value = tag.value
    if isinstance(value, tuple):
        if len(value) != 2 or value[1] == 0:
            return None
        value = value[0] / value[1]
    number = float(value)
    return number if math.isfinite(number) and number > 0 else None


def _complete(*sizes: float | None) -> Spacing | None:
    if len(sizes) != 3:
        return None
    z, y, x = sizes
    return None if y is None or x is None else (z, y, x)
