"""The values of DICOM images, one plane after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.dicom_file import first_item, in_groups, items, load
from samft.data.readers.dicom_header import DICOM_IMAGE
from samft.data.readers.limits import unreadable

_RUN_LENGTHS = "1.2.840.10008.1.2.5"
_FRAME_SLACK = 4096  # bytes: its header, short rows, the table of frames


def read_planes(
    path: Path,
    places: Mapping[int | None, int],
    stack: NDArray[np.float32],
    known: NDArray[np.bool_],
) -> bool:
    """Fill in the planes of one file, inside `reading_dicom`.

    Args:
        path: The file.
        places: Where in the stack its frames belong; a file that is an image has one, `None`.
        stack: (K, rows, columns, C), filled with what was measured.
        known: (K, rows, columns), filled with where something was measured.

    Returns:
        Whether white is stored as the lowest value.
    """
    data = load(path)
    _refuse_bomb(path, data)
    for frame, pixels in _pixels(data, places):
        plane, place = (pixels[..., None] if pixels.ndim == 2 else pixels), places[frame]
        if plane.shape != stack.shape[1:]:
            raise unreadable(path, f"pixels {plane.shape}, header {stack.shape[1:]}", DICOM_IMAGE)
        if plane.shape[2] == 1:
            known[place] = ~_is_padding(data, plane[..., 0])
            slope, intercept = _scale(data, frame)
            plane = plane * slope + intercept
        stack[place] = plane
    return bool(data.PhotometricInterpretation == "MONOCHROME1")


def _refuse_bomb(path: Path, data: Any) -> None:  # Any: pydicom
    """Refuse run lengths that are longer than the pixels themselves: they can only grow further.

    Source: DICOM PS3.5, annex G: a byte for at most 128 others, a header of 64 bytes for a frame.
    """
    if data.file_meta.TransferSyntaxUID != _RUN_LENGTHS:
        return
    frames = max(1, int(data.get("NumberOfFrames") or 1))
    values = frames * int(data.Rows) * int(data.Columns) * int(data.get("SamplesPerPixel") or 1)
    needed = values * max(1, int(data.BitsAllocated) // 8)
    stored = len(data.get("PixelData") or b"")
    if stored > 1.1 * needed + _FRAME_SLACK * frames:
        raise unreadable(path, f"{stored} bytes of run lengths", f"pixels of {needed} bytes")


def _pixels(
    data: Any,  # Any: pydicom
    places: Mapping[int | None, int],
) -> Iterator[tuple[int | None, NDArray[Any]]]:
    frames = sorted(frame for frame in places if frame is not None)
    if not frames:
        yield None, data.pixel_array
        return
    from pydicom.pixels.utils import iter_pixels

    yield from zip(frames, iter_pixels(data, indices=frames), strict=True)


def _scale(data: Any, frame: int | None) -> tuple[float, float]:  # Any: pydicom
    """Return slope and intercept of what was measured.

    Source: DICOM PS3.3, C.11.1 (Modality LUT) and C.7.6.16.2.9 (Pixel Value Transformation).
    """
    slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
    groups = items(data, "PerFrameFunctionalGroupsSequence")
    if frame is not None and frame < len(groups):
        shared = first_item(data, "SharedFunctionalGroupsSequence")
        sequence = "PixelValueTransformationSequence"
        own = in_groups(groups[frame], shared, sequence, "RescaleSlope")
        if own is not None:
            slope = own
            intercept = in_groups(groups[frame], shared, sequence, "RescaleIntercept")
    return float(1 if slope is None else slope), float(intercept or 0)


def _is_padding(data: Any, pixels: NDArray[Any]) -> NDArray[np.bool_]:  # Any: pydicom
    """Return where nothing was measured.

    Source: DICOM PS3.3, C.7.5.1.1.2 (Pixel Padding Value and Range Limit).
    """
    value, limit = data.get("PixelPaddingValue"), data.get("PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(pixels.shape, np.bool_)
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (pixels >= low) & (pixels <= high)
