"""Pixels of a TIFF, plane by plane and part by part: only strips and tiles that are touched."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from samft._deps import require
from samft.data.readers.limits import check_declared_size, unreadable
from samft.data.readers.part import check_window
from samft.data.readers.tiff_axes import TiffAxes, axes_of, check_index
from samft.data.records import Window

# tifffile decodes these by itself: none, deflate (two codes), PackBits, LZMA.
_BUILT_IN_COMPRESSIONS = frozenset({1, 8, 32946, 32773, 34925})
_BUILT_IN_PREDICTORS = frozenset({1, 2})  # none, horizontal differences
_JPEG = frozenset({6, 7, 34892, 33007})
_WHOLE_BITS = frozenset({1, 8, 16, 32, 64})


class TiffPlanes:
    """The planes of one image in an open TIFF, as they are stored.

    Args:
        path: The file.
        file: The open file.
        series: One of its images, or one of its resolutions.
        expected: What the file should be, for messages.

    Raises:
        DatasetError: if the image is none.
        DependencyError: if its compression needs the package imagecodecs.
    """

    def __init__(self, path: Path, file: Any, series: Any, expected: str) -> None:
        self.path = path
        self.file = file
        self.series = series  # Any: tifffile has no types
        self.expected = expected
        self.axes: TiffAxes = axes_of(path, series, expected)
        self.keyframe = series.keyframe
        require_decoder(self.keyframe)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values, in the machine's byte order."""
        kind: np.dtype[Any] = np.dtype(self.series.dtype).newbyteorder("=")
        return kind

    def whole(self) -> NDArray[Any]:
        """Decode everything: (C, planes, H, W).

        Raises:
            DatasetError: if that is larger than allowed.
        """
        axes = self.axes
        check_declared_size(self.path, axes.shape, self.dtype.itemsize)
        array = np.asarray(self.series.asarray()).reshape(axes.shape)
        sorted_array = array.transpose(*axes.channels, *axes.planes, axes.y, axes.x)
        return sorted_array.reshape(axes.num_channels, axes.num_planes, *axes.size)

    def plane(self, index: int, window: Window | None = None) -> NDArray[Any]:
        """Decode a plane, or the part of it in `window`: (C, H, W).

        Raises:
            DatasetError: if it is larger than allowed, or damaged.
        """
        axes = self.axes
        part = window or (0, 0, *axes.size)
        check_window(self.path, part, axes.size)
        _, _, height, width = part
        sides = (axes.num_channels, height, width)
        check_declared_size(self.path, sides, self.dtype.itemsize)
        along = np.unravel_index(index, [axes.shape[axis] for axis in axes.planes] or [1])
        places = {axis: int(place) for axis, place in zip(axes.planes, along, strict=False)}
        if self.series.dataoffset is not None:
            return self._mapped(places, part).reshape(sides)
        return self._decoded(places, part).reshape(sides)

    def _mapped(self, places: dict[int, int], window: Window) -> NDArray[Any]:
        axes, (top, left, height, width) = self.axes, window
        stored = np.dtype(self.series.dtype).newbyteorder(self.file.byteorder)
        mapped = np.memmap(self.path, stored, "r", self.series.dataoffset, axes.shape)
        key: list[Any] = [slice(None)] * len(axes.shape)
        key[axes.y], key[axes.x] = slice(top, top + height), slice(left, left + width)
        for axis, place in places.items():
            key[axis] = place
        rest = [axis for axis in range(len(axes.shape)) if axis not in places]
        order = [rest.index(axis) for axis in (*axes.channels, axes.y, axes.x)]
        return np.array(mapped[tuple(key)].transpose(order), dtype=self.dtype)

    def _decoded(self, places: dict[int, int], window: Window) -> NDArray[Any]:
        axes = self.axes
        leading = self._leading()
        if leading is None:  # pages and axes do not match: all or nothing
            index = np.ravel_multi_index(
                tuple(places[axis] for axis in axes.planes),
                tuple(axes.shape[axis] for axis in axes.planes),
            )
            top, left, height, width = window
            return self.whole()[:, int(index), top : top + height, left : left + width]
        paged = [axis for axis in axes.channels if axis < leading]
        within = [axis for axis in axes.channels if axis >= leading]
        parts = []
        for combination in np.ndindex(*(axes.shape[axis] for axis in paged)):
            at = {**places, **dict(zip(paged, combination, strict=True))}
            first = tuple(at[axis] for axis in range(leading))
            number = int(np.ravel_multi_index(first, axes.shape[:leading])) if leading else 0
            sides = list(axes.shape)
            sides[axes.y], sides[axes.x] = window[2:]
            pixels = self._page(self.series.pages[number], window).reshape(sides[leading:])
            rest = [places.get(axis, slice(None)) for axis in range(leading, len(sides))]
            kept = [axis for axis in range(leading, len(sides)) if axis not in places]
            order = [kept.index(axis) for axis in (*within, axes.y, axes.x)]
            parts.append(pixels[tuple(rest)].transpose(order))
        return np.stack(parts)

    def _leading(self) -> int | None:
        """Return how many of the first axes run over pages; the others lie within a page."""
        pages, inside = len(self.series.pages), math.prod(self.keyframe.shaped)
        for count in range(min(self.axes.y, self.axes.x) + 1):
            before, behind = self.axes.shape[:count], self.axes.shape[count:]
            if math.prod(before) == pages and math.prod(behind) == inside:
                return count
        return None

    def _page(self, page: Any, window: Window) -> NDArray[Any]:  # Any: tifffile has no types
        """Return a part of a page: (separate channels, depth, height, width, channels)."""
        if page is None:
            raise unreadable(self.path, "a page of it lies in another file", self.expected)
        top, left, height, width = window
        key = self.keyframe
        separate, depth, _, _, together = key.shaped
        if depth > 1:
            check_declared_size(self.path, key.shaped, self.dtype.itemsize)
            check_index(self.path, page, self.expected)
            whole = np.asarray(page.asarray()).reshape(key.shaped)
            return whole[:, :, top : top + height, left : left + width]
        result = np.full((separate, 1, height, width, together), key.nodata, self.dtype)
        for number in self._segments(window):
            segment, at, _ = self._segment(page, number)
            if segment is None:  # left out by the writer: nothing there
                continue
            _paste(result[at[0], 0], segment[0], at[2] - top, at[3] - left)
        return result

    def _segments(self, window: Window) -> Iterator[int]:
        """Yield the numbers of the tiles or strips that a window touches."""
        top, left, height, width = window
        key = self.keyframe
        separate, _, length, breadth, together = key.shaped
        rows, columns = min(int(key.rowsperstrip) or length, length), breadth
        if key.is_tiled:
            rows, columns = int(key.tilelength), int(key.tilewidth)
        check_declared_size(self.path, (rows, columns, together), self.dtype.itemsize)
        down, across = math.ceil(length / rows), math.ceil(breadth / columns)
        for sample in range(separate):
            for row in range(top // rows, (top + height - 1) // rows + 1):
                for column in range(left // columns, (left + width - 1) // columns + 1):
                    yield (sample * down + row) * across + column

    def _segment(self, page: Any, number: int) -> tuple[Any, Any, Any]:  # Any: tifffile's
        offsets, counts = page.dataoffsets, page.databytecounts
        size = self.path.stat().st_size
        if number >= min(len(offsets), len(counts)):
            raise unreadable(self.path, f"{len(offsets)} tiles or strips", self.expected)
        end = offsets[number] + counts[number]
        if end > size:
            found = f"{size} bytes, its index points to byte {end}"
            raise unreadable(self.path, found, self.expected)
        data = None
        if counts[number]:
            self.file.filehandle.seek(offsets[number])
            data = self.file.filehandle.read(counts[number])
        tables: dict[str, Any] = {}
        if int(self.keyframe.compression) in _JPEG:
            tables = {"jpegtables": page.jpegtables, "jpegheader": self.keyframe.jpegheader}
        decoded: tuple[Any, Any, Any] = self.keyframe.decode(data, number, **tables)
        return decoded


def require_decoder(page: Any) -> None:  # Any: tifffile has no types
    """Check that the pixels of a page can be decoded.

    Raises:
        DependencyError: if their compression needs the package imagecodecs.
    """
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8
    found = None
    if int(page.compression) not in _BUILT_IN_COMPRESSIONS:
        found = f"compressed with {page.compression.name}"
    elif int(page.predictor) not in _BUILT_IN_PREDICTORS:
        found = "of floating point differences"
    elif bits not in _WHOLE_BITS:
        found = f"of {bits} bits"
    if found:
        require("imagecodecs", extra="microscopy", purpose=f"read TIFF files {found}")


def num_extra(planes: TiffPlanes) -> int:
    """Return how many of the last channels are no colours, such as alpha.

    With channels beside the samples of a pixel there is one for each channel: that counts as none.
    """
    axes, extra = planes.axes, len(planes.keyframe.extrasamples)
    samples = axes.shape[axes.names.index("S")] if "S" in axes.names else 1
    return extra if samples == axes.num_channels and extra < samples else 0


def as_seen(pixels: NDArray[Any], page: Any) -> NDArray[Any]:  # Any: tifffile has no types
    """Return stored values as what they look like: palette, black for 0, CMYK as RGB.

    Args:
        pixels: (C, ...) as stored.
        page: A page of the image.
    """
    if page.colormap is not None and pixels.shape[0] == 1:
        return np.asarray((page.colormap >> 8).astype(np.uint8)[:, pixels[0]])
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype.kind == "u":
        pixels = np.asarray(np.iinfo(pixels.dtype).max - pixels)
    inks = page.photometric == tifffile.PHOTOMETRIC.SEPARATED
    if inks and pixels.shape[0] == 4 and pixels.dtype.kind == "u":
        return from_cmyk(pixels)
    return plain_numbers(pixels)


def from_cmyk(inks: NDArray[Any]) -> NDArray[Any]:
    """Turn the inks of a print, (4, ...) of any unsigned type, into (3, ...) RGB."""
    top = np.iinfo(inks.dtype).max
    light = (top - inks).astype(np.float32)
    return np.asarray(np.rint(light[:3] * (light[3] / np.float32(top))), dtype=inks.dtype)


def plain_numbers(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return values of types that few programs reckon with, 1 bit and half floats, as others."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    if pixels.dtype == np.float16:
        return pixels.astype(np.float32)
    return pixels


def _paste(target: NDArray[Any], segment: NDArray[Any], top: int, left: int) -> None:
    """Copy what of `segment` lies in `target`; `top` and `left` may be negative."""
    y, x = max(top, 0), max(left, 0)
    piece = segment[y - top : target.shape[0] - top, x - left : target.shape[1] - left]
    target[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
