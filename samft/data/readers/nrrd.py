"""NRRD volumes and 3D Slicer segmentations (.nrrd, .seg.nrrd): pynrrd reads the header.

The data is unpacked here, so that a small file cannot unpack to more than its header states.
"""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft._deps import require
from samft.data.readers.limits import check_declared_size, reading, stored_size, unreadable
from samft.data.readers.volume import Segment, Volume, VolumeGeometry, geometry_for

NRRD_SUFFIXES = (".nrrd",)
"""File name endings, lower case; `.seg.nrrd` is one of them."""
_EXPECTED = "an NRRD volume with 2 or 3 space axes and at most one other"
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    "float": "f4",
    "double": "f8",
}
# World directions as signs to turn (x, y, z) into right, anterior, superior.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """How the values lie in the file."""

    geometry: VolumeGeometry
    sizes: tuple[int, ...]
    channel_axis: int | None
    dtype: np.dtype[Any]
    encoding: str
    data_start: int


def probe_nrrd(path: Path) -> VolumeGeometry:
    """Return size and position from the header, after checking that the data can be complete.

    Raises:
        DatasetError: if the file is damaged, lies about its size, or is larger than allowed.
        DependencyError: if pynrrd is not installed.
    """
    with reading(path, _EXPECTED):
        layout = _layout(path, _header(path))
        needed = math.prod(layout.sizes) * layout.dtype.itemsize
        if stored_size(path, layout.data_start) != needed % 2**32:
            _unpack(path, layout)  # strange, so unpack it to find out
        return layout.geometry


def read_nrrd(path: Path) -> Volume:
    """Read a volume into canonical orientation, with the segments its header names.

    Raises:
        DatasetError: if the file is damaged, lies about its size, or is larger than allowed.
        DependencyError: if pynrrd is not installed.
    """
    with reading(path, _EXPECTED):
        header = _header(path)
        layout = _layout(path, header)
        data = np.frombuffer(_unpack(path, layout), dtype=layout.dtype)
        native = data.reshape(layout.sizes, order="F")
        if layout.channel_axis is not None:
            native = np.moveaxis(native, layout.channel_axis, -1)
        native = native.reshape(*layout.geometry.native_shape, layout.geometry.channels)
        canonical = layout.geometry.to_canonical(native)
        array = np.ascontiguousarray(canonical, dtype=layout.dtype.newbyteorder("="))
        return Volume(array=array, geometry=layout.geometry, segments=_segments(header))


def read_segments(path: Path) -> tuple[Segment, ...]:
    """Return the segments that the header names, without reading the data.

    Raises:
        DatasetError: if the header is unreadable.
        DependencyError: if pynrrd is not installed.
    """
    with reading(path, _EXPECTED):
        return _segments(_header(path))


def _header(path: Path) -> Mapping[str, Any]:  # Any: header fields are of many types
    nrrd = require("nrrd", extra="medical", purpose="read NRRD files")
    try:
        with path.open("rb") as file:
            header = dict(nrrd.read_header(file))
            header["data start"] = file.tell()
    except (nrrd.NRRDError, StopIteration) as error:
        found = str(error).splitlines() or ["no header"]
        raise unreadable(path, found[0], _EXPECTED) from error
    for field in ("data file", "datafile"):
        # It may point anywhere on this machine.
        if field in header:
            raise unreadable(path, f"data in another file ({header[field]})", "header and data")
    return header


def _layout(path: Path, header: Mapping[str, Any]) -> _Layout:
    code = _TYPES.get(str(header["type"]).lower())
    if code is None:
        raise unreadable(path, f"values of type {header['type']}", "one number per voxel")
    dtype = np.dtype((">" if header.get("endian") == "big" else "<") + code)
    sizes = tuple(int(size) for size in header["sizes"])
    if len(sizes) != header["dimension"]:
        raise unreadable(path, f"{header['dimension']} axes, {len(sizes)} sizes", _EXPECTED)
    check_declared_size(path, sizes, dtype.itemsize)
    directions, channel_axis = _directions(path, header, len(sizes))
    space = [size for axis, size in enumerate(sizes) if axis != channel_axis]
    rows, columns, slices = (*space, *(1,) * (3 - len(space)))
    affine = np.eye(4)
    affine[:3, : len(directions)] = directions.T
    origin = np.asarray(header.get("space origin", np.zeros(3)), np.float64)
    affine[:3, 3] = np.where(np.isnan(origin), 0, origin)  # "none"
    signs = _SPACES.get(str(header.get("space", "lps")).lower(), (1, 1, 1))
    affine[:3] *= np.array(signs, np.float64)[:, None]
    geometry = geometry_for(
        path,
        shape=(rows, columns, slices),
        affine=affine,
        channels=1 if channel_axis is None else sizes[channel_axis],
    )
    encoding = str(header.get("encoding", "raw")).lower()
    return _Layout(
        geometry=geometry,
        sizes=sizes,
        channel_axis=channel_axis,
        dtype=dtype,
        encoding={"gz": "gzip", "bz2": "bzip2"}.get(encoding, encoding),
        data_start=int(header["data start"]),
    )


def _directions(
    path: Path, header: Mapping[str, Any], axes: int
) -> tuple[NDArray[np.float64], int | None]:
    """Return the (2 or 3, 3) steps along the space axes, and which axis is the other one."""
    stated = header.get("space directions")
    if stated is None:
        spacings = np.asarray(header.get("spacings", np.ones(axes)), np.float64)
        channel = _listed_axis(header, axes)
        kept = [axis for axis in range(axes) if axis != channel]
        steps = np.diag(np.nan_to_num(spacings[kept], nan=1.0))
        steps = np.pad(steps, ((0, 0), (0, max(0, 3 - len(kept)))))
    else:
        rows = [np.full(3, np.nan) if row is None else np.asarray(row, float) for row in stated]
        missing = [axis for axis, row in enumerate(rows) if np.isnan(row).any()]
        channel = missing[0] if len(missing) == 1 else None
        steps = np.array([row for axis, row in enumerate(rows) if axis != channel])
    space_axes = axes if channel is None else axes - 1
    if steps.shape not in ((2, 3), (3, 3)) or len(steps) != space_axes:
        raise unreadable(path, f"{axes} axes, {steps.shape[0]} of them in space", _EXPECTED)
    return steps, channel


def _listed_axis(header: Mapping[str, Any], axes: int) -> int | None:
    kinds = [str(kind).lower() for kind in header.get("kinds", ())]
    others = [axis for axis, kind in enumerate(kinds) if kind not in ("domain", "space")]
    if len(others) == 1:
        return others[0]
    return 0 if axes == 4 else None


def _unpack(path: Path, layout: _Layout) -> bytes:
    needed = math.prod(layout.sizes) * layout.dtype.itemsize
    with path.open("rb") as file:
        file.seek(layout.data_start)
        if layout.encoding == "raw":
            data = file.read(needed)
        elif layout.encoding == "gzip":
            data = zlib.decompressobj(wbits=31).decompress(file.read(), needed)
        elif layout.encoding == "bzip2":
            data = bz2.BZ2Decompressor().decompress(file.read(), needed)
        else:
            raise unreadable(path, f"encoding {layout.encoding}", "raw, gzip or bzip2")
    if len(data) != needed:
        raise unreadable(path, f"{len(data)} bytes of data", f"{needed} bytes by its header")
    return data


def _segments(header: Mapping[str, Any]) -> tuple[Segment, ...]:
    found: list[Segment] = []
    while (name := header.get(f"Segment{len(found)}_Name")) is not None:
        key = f"Segment{len(found)}"
        found.append(
            Segment(
                name=str(name),
                value=int(header.get(f"{key}_LabelValue", len(found) + 1)),
                layer=int(header.get(f"{key}_Layer", 0)),
            )
        )
    return tuple(found)
