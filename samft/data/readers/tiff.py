"""TIFF through tifffile: one 2-D image, grey or with channels, 8 to 32 bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from samft._deps import require
from samft.data.readers.limits import check_declared_size, reading, unreadable
from samft.errors import DatasetError

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_EXPECTED = "a TIFF with one 2-D image"
# tifffile decodes these by itself: none, deflate (two codes), PackBits, LZMA.
_BUILT_IN_COMPRESSIONS = frozenset({1, 8, 32946, 32773, 34925})
# Height and width, alone or with samples (interleaved or planar) or channels.
_PLANE_AXES = frozenset({"YX", "YXS", "SYX", "CYX"})
# Arrays of three axes that were saved without a word on what these mean.
_UNNAMED_AXES = frozenset({"QYX", "IYX"})


def probe_tiff(path: Path, *, every_channel: bool = False) -> tuple[int, int]:
    """Return (height, width) from the header, after checking that all pixel data is there.

    Args:
        path: The file.
        every_channel: See `read_tiff`.

    Raises:
        DatasetError: if the file is damaged, a stack, or larger than allowed.
    """
    with reading(path, _EXPECTED), tifffile.TiffFile(path) as file:
        series = _checked_series(path, file, every_channel=every_channel)
        sides = [size for axis, size in enumerate(series.shape) if axis != _channel_axis(series)]
        return int(sides[0]), int(sides[1])


def read_tiff(path: Path, *, keep_codes: bool = False, every_channel: bool = False) -> NDArray[Any]:
    """Read the first image of a TIFF; an alpha channel is dropped.

    Args:
        path: The file.
        keep_codes: Return the stored numbers (masks) instead of what they look like (pictures):
            palettes are not applied and "white is zero" is not inverted.
        every_channel: Return all channels, also those that the file does not say to be colours,
            and take an axis without a name for channels: the last where it is the shortest, else
            the first.

    Returns:
        (H, W) or (H, W, C) in the file's own dtype.

    Raises:
        DatasetError: if the file is damaged, a stack, or larger than allowed.
        DependencyError: if its compression needs the package imagecodecs.
    """
    with reading(path, _EXPECTED), tifffile.TiffFile(path) as file:
        series = _checked_series(path, file, every_channel=every_channel)
        page = series.keyframe
        require_decoder(page)
        array = np.asarray(series.asarray())
        if array.ndim == 3:
            array = np.moveaxis(array, _channel_axis(series), -1)
        if page.extrasamples and array.ndim == 3 and not every_channel:
            array = array[..., : -len(page.extrasamples)]
        if array.ndim == 3 and array.shape[-1] == 1:
            array = array[..., 0]
        return array if keep_codes else _as_seen(array, page)


def _checked_series(
    path: Path, file: tifffile.TiffFile, *, every_channel: bool
) -> Any:  # Any: tifffile has no types
    if not file.series:
        raise unreadable(path, "no image in it", _EXPECTED)
    series = file.series[0]
    if series.axes not in (_PLANE_AXES | _UNNAMED_AXES if every_channel else _PLANE_AXES):
        raise DatasetError(
            "the TIFF is a stack",
            where=path,
            found=" x ".join(f"{size} {name}" for name, size in series.sizes.items()),
            expected="one 2-D image, grey or with channels",
            fix="save its planes as single files, or leave the file out with a narrower pattern",
        )
    check_declared_size(path, series.shape, series.dtype.itemsize)
    check_complete(path, file)
    return series


def _channel_axis(series: Any) -> int:  # Any: tifffile has no types
    """Return which axis holds the channels; of a grey image there is none at that place."""
    if series.axes[0] in "CS":
        return 0
    if series.axes in _UNNAMED_AXES:
        return 2 if series.shape[2] < min(series.shape[:2]) else 0
    return 2


def require_decoder(page: Any) -> None:  # Any: tifffile has no types
    """Check that the pixels of a page can be decoded.

    Raises:
        DependencyError: if their compression needs the package imagecodecs.
    """
    if int(page.compression) not in _BUILT_IN_COMPRESSIONS:
        require(
            "imagecodecs",
            extra="microscopy",
            purpose=f"read TIFF files compressed with {page.compression.name}",
        )


def check_complete(path: Path, file: tifffile.TiffFile) -> None:
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
        raise unreadable(path, f"{size} bytes, {found}", _EXPECTED)
    for page in file.series[0].pages:
        if page is None:
            raise unreadable(path, "a page of it lies in another file", _EXPECTED)
        offsets, counts = page.dataoffsets, page.databytecounts
        end = max((o + c for o, c in zip(offsets, counts, strict=False)), default=0)
        if not offsets or end > size:
            raise unreadable(path, f"{size} bytes, its index points to byte {end}", _EXPECTED)


def _next_page(file: tifffile.TiffFile) -> int | None:
    """Return what stands behind the last page: 0, or where another one should be."""
    place = file.pages.next_page_offset
    if place is None:
        return None
    file.filehandle.seek(place)
    stored = file.filehandle.read(file.tiff.offsetsize)
    if len(stored) < file.tiff.offsetsize:
        return None
    return int.from_bytes(stored, "little" if file.tiff.byteorder == "<" else "big")


def _as_seen(array: NDArray[Any], page: Any) -> NDArray[Any]:  # Any: tifffile has no types
    if page.colormap is not None and array.ndim == 2:
        return np.asarray((np.moveaxis(page.colormap, 0, -1) >> 8).astype(np.uint8)[array])
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and array.dtype.kind == "u":
        return np.asarray(np.iinfo(array.dtype).max - array)
    return array
