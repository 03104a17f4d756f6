"""What the axes of a TIFF mean: planes, channels, height and width, whatever their order."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import tifffile

from samft.data.readers.limits import check_declared_size, reading, unreadable

_log = logging.getLogger(__name__)

TIFF_SUFFIXES = frozenset(
    {".tif", ".tiff", ".btf", ".tf2", ".tf8", ".svs", ".ndpi", ".scn", ".qptiff", ".lsm"}
)
"""File name endings of TIFF and of the microscope formats that are TIFF, lower case."""

_MOST_PLANES = 10_000_000  # tifffile makes a list entry for each that the XML announces
_MOST_TAGS = 4096  # of a page; tifffile stops there too
_OME_SIZE = re.compile(r"<(?:\w+:)?Pixels\b[^>]*>")
_OME_SIDE = re.compile(r"\bSize[ZCT]\s*=\s*[\"'](\d+)[\"']")


@dataclass(frozen=True, kw_only=True, slots=True)
class TiffAxes:
    """The axes of one image in a TIFF, singletons included.

    Args:
        names: tifffile's letter for each axis.
        shape: Length of each axis.
        planes: Positions of the axes along which planes lie, the slowest first: others, t, z.
        channels: Positions of the axes of channels and colours.
        y: Position of the rows.
        x: Position of the columns.
    """

    names: str
    shape: tuple[int, ...]
    planes: tuple[int, ...]
    channels: tuple[int, ...]
    y: int
    x: int

    @property
    def num_planes(self) -> int:
        """Number of planes."""
        return math.prod(self.shape[axis] for axis in self.planes)

    @property
    def num_channels(self) -> int:
        """Number of channels, colours counted one by one."""
        return math.prod(self.shape[axis] for axis in self.channels)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.shape[self.y], self.shape[self.x]

    def described(self) -> str:
        """Return the lengths with their letters, for messages."""
        pairs = zip(self.shape, self.names, strict=True)
        return " x ".join(f"{size} {name}" for size, name in pairs if size > 1 or name in "YX")


@contextmanager
def opened(path: Path, expected: str) -> Iterator[Any]:  # Any: tifffile has no types
    """Open a TIFF; other files that its metadata names are not read.

    Args:
        path: The file.
        expected: What it should be, for messages.

    Raises:
        DatasetError: if it is damaged, or announces more than there can be.
    """
    # Files of a set name each other in the metadata: such names could lead anywhere.
    # tifffile asserts what damaged files do not keep.
    also = (AssertionError,)
    with reading(path, expected, also=also), tifffile.TiffFile(path, _multifile=False) as file:
        _refuse_loops(path, file, expected)
        _refuse_lies(path, file, expected)
        yield file


def first_series(path: Path, file: Any, expected: str) -> Any:  # Any: tifffile has no types
    """Return the first image of a TIFF, at full resolution; others are logged once.

    Raises:
        DatasetError: if there is none.
    """
    if not file.series:
        raise unreadable(path, "no image in it", expected)
    if len(file.series) > 1:
        _say_first(path, len(file.series))
    return file.series[0]


def axes_of(path: Path, series: Any, expected: str) -> TiffAxes:  # Any: tifffile has no types
    """Sort the axes of an image.

    Args:
        path: The file, for messages.
        series: The image.
        expected: What the file should be, for messages.

    Raises:
        DatasetError: if it has no rows or columns, or holds numbers that are no grey levels.
    """
    names, shape = (
        str(series.get_axes(squeeze=False)),
        tuple(map(int, series.get_shape(squeeze=False))),
    )
    if names.count("Y") != 1 or names.count("X") != 1 or series.dtype.kind not in "buif":
        raise unreadable(path, f"axes {names}, {series.dtype}", expected)
    check_declared_size(path, [1 if side > 0 else side for side in shape], 1)
    channels = tuple(axis for axis, name in enumerate(names) if name in "CS")
    others = [axis for axis, name in enumerate(names) if name not in "CSYX"]
    # tifffile's other letters (sequence, position, ...) are slower than time, time than depth.
    others.sort(key=lambda axis: ("TZ".find(names[axis]), axis))
    return TiffAxes(
        names=names,
        shape=shape,
        planes=tuple(others),
        channels=channels,
        y=names.index("Y"),
        x=names.index("X"),
    )


def check_complete(path: Path, file: Any, expected: str) -> None:  # Any: tifffile has no types
    """Refuse a file that ends before its pages or their pixels do.

    Raises:
        DatasetError: if data is missing.
    """
    # tifffile leaves out missing pages and fills missing strips with zeros; a half-copied file must
    # not pass as its first page, or as a black image.
    size = path.stat().st_size
    following = _next_page(file)
    if following is None or following >= size:
        found = "an unfinished list of pages" if following is None else f"a page at {following}"
        raise unreadable(path, f"{size} bytes, {found}", expected)
    series = file.series[0]
    for page in series.pages:
        if page is None:
            raise unreadable(path, "a page of it lies in another file", expected)
        offsets, counts = page.dataoffsets, page.databytecounts
        end = max((o + c for o, c in zip(offsets, counts, strict=False)), default=0)
        if not offsets or end > size:
            raise unreadable(path, f"{size} bytes, its index points to byte {end}", expected)
        check_index(path, page, expected)
    _check_imagej(path, file, series, expected)
    if series.dataoffset is not None:  # ImageJ: one page, the pixels of all behind it
        end = series.dataoffset + math.prod(series.shape) * series.dtype.itemsize
        if end > size:
            raise unreadable(path, f"{size} bytes, its planes end at byte {end}", expected)


def check_index(path: Path, page: Any, expected: str) -> None:  # Any: tifffile has no types
    """Refuse a page that says it has more tiles or strips than it says where they are.

    Raises:
        DatasetError: if it does.
    """
    needed, listed = math.prod(page.keyframe.chunked), len(page.dataoffsets)
    if listed < needed:  # tifffile goes through millions of them, one by one
        raise unreadable(path, f"{listed} of {needed} tiles or strips", expected)


def _check_imagej(path: Path, file: Any, series: Any, expected: str) -> None:  # Any: tifffile
    notes = file.imagej_metadata if file.is_imagej else None
    announced = notes.get("images") if isinstance(notes, dict) else None
    sides = zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True)
    found = math.prod(side for axis, side in sides if axis not in "YXS")
    # Where pixels are missing, tifffile falls back to what is there.
    if isinstance(announced, int) and announced > found:
        raise unreadable(path, f"{found} of {announced} planes", expected)


def _refuse_loops(path: Path, file: Any, expected: str) -> None:  # Any: tifffile has no types
    """Refuse a list of pages that comes back to one of them: tifffile follows it for ever."""
    place, seen = int(file.pages.first.offset), set[int]()
    while 0 < place not in seen:
        seen.add(place)
        place = _after_page(file, place)
    if place:
        raise unreadable(path, f"a list of pages that comes back to byte {place}", expected)


def _after_page(file: Any, place: int) -> int:  # Any: tifffile has no types
    """Return where the page behind the one at `place` begins; 0 if there is none."""
    tiff, handle = file.tiff, file.filehandle
    handle.seek(place)
    count = _number(file, handle.read(tiff.tagnosize))
    if count > _MOST_TAGS:
        return 0
    handle.seek(place + tiff.tagnosize + count * tiff.tagsize)
    return _number(file, handle.read(tiff.offsetsize))


def _number(file: Any, stored: bytes) -> int:  # Any: tifffile has no types
    return int.from_bytes(stored, "little" if file.tiff.byteorder == "<" else "big")


def _refuse_lies(path: Path, file: Any, expected: str) -> None:  # Any: tifffile has no types
    text = (file.ome_metadata or "") if file.is_ome else ""
    if "<!ENTITY" in text:
        raise unreadable(path, "XML that defines entities", expected)
    for tag in _OME_SIZE.findall(text):
        sides = [int(digits[:20]) for digits in _OME_SIDE.findall(tag)]
        if math.prod(sides) > _MOST_PLANES:
            raise unreadable(path, f"{' x '.join(map(str, sides))} planes in its XML", expected)


@lru_cache(maxsize=4096)
def _say_first(path: Path, count: int) -> None:
    _log.info("%s holds %d images of different kinds; the first is used", path, count)


def _next_page(file: Any) -> int | None:  # Any: tifffile has no types
    """Return what stands behind the last page: 0, or where another one should be."""
    place = file.pages.next_page_offset
    if place is None:
        return None
    file.filehandle.seek(place)
    stored = file.filehandle.read(file.tiff.offsetsize)
    if len(stored) < file.tiff.offsetsize:
        return None
    return _number(file, stored)
