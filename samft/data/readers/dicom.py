"""DICOM series through pydicom: single-frame images, sorted by where they lie in the patient.

Nothing of what a file says about a patient leaves this module: names come from folders and files,
and messages state sizes and kinds, never the text of an element.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft._deps import require
from samft.data.readers.limits import check_declared_size, reading, unreadable
from samft.data.readers.volume import VolumeGeometry, geometry_for
from samft.errors import DatasetError, SamftError

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""File name endings, lower case; many files of scanners have none."""
_EXPECTED = "a DICOM image"
_MAGIC_AT, _MAGIC = 128, b"DICM"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_REPEATABLE = frozenset({*_GREY, "RGB", "PALETTE COLOR", "HSV", "ARGB", "CMYK", "YBR_FULL"})
_NO_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "PR", "KO", "SR", "REG"})
_HEADER = (
    *("SeriesInstanceUID", "Modality", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"),
    *("BitsAllocated", "PhotometricInterpretation", "ImageOrientationPatient", "PixelSpacing"),
    *("ImagePositionPatient", "SpacingBetweenSlices", "SliceThickness"),
)
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM: x left, y back; the affine: x right, y front
_UNEVEN = 0.02  # share of the step by which a slice may lie beside its place


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomSeries:
    """Images of one series that lie behind each other, or one image that lies nowhere.

    Args:
        paths: The files, in rising order along the normal of their planes.
        size: (rows, columns).
        channels: 1, or 3 for colour.
        geometry: Where the stack lies; the file index is (column, row, image). `None` for an image
            without a position, such as a radiograph.
        evenly_spaced: Whether the images lie at equal distances on one line.
    """

    paths: tuple[Path, ...]
    size: tuple[int, int]
    channels: int
    geometry: VolumeGeometry | None
    evenly_spaced: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundSeries:
    """What a number of DICOM files holds.

    Args:
        series: The image series, by the path of their first file.
        failures: Files that cannot be used, with the reason.
        without_image: How many files are no images (segmentations, contours, reports).
    """

    series: list[DicomSeries]
    failures: list[tuple[Path, SamftError]]
    without_image: int


@dataclass(frozen=True, slots=True)
class _Header:
    path: Path
    series: str
    size: tuple[int, int]
    channels: int
    itemsize: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, float]
    thickness: float

    @property
    def has_place(self) -> bool:
        return self.orientation is not None and self.position is not None

    @property
    def normal(self) -> NDArray[np.float64]:
        assert self.orientation is not None  # asked for only of images with a place
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def depth(self) -> float:
        assert self.position is not None  # as above
        return float(self.normal @ np.asarray(self.position))


def is_dicom(path: Path) -> bool:
    """Tell by its name, or else by its first bytes, whether a file is DICOM."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC
    except OSError:
        return False


def find_series(paths: Sequence[Path]) -> FoundSeries:
    """Sort DICOM files into series; only their headers are read.

    A series whose images differ in size or direction (an overview beside the slices) is taken
    apart. Images without a position are a series each.

    Raises:
        DependencyError: if pydicom is not installed.
    """
    groups: dict[tuple[object, ...], list[_Header]] = defaultdict(list)
    failures: list[tuple[Path, SamftError]] = []
    without_image = 0
    for path in sorted(paths):
        try:
            header = _read_header(path)
        except DatasetError as error:
            failures.append((path, error))
            continue
        if header is None:
            without_image += 1
        elif header.has_place:
            direction = tuple(round(value, 3) + 0.0 for value in header.orientation or ())
            groups[header.series, header.size, header.channels, direction].append(header)
        else:
            groups[(path,)].append(header)
    series: list[DicomSeries] = []
    for headers in groups.values():
        try:
            series.append(_series(headers))
        except DatasetError as error:
            failures.append((headers[0].path, error))
    return FoundSeries(
        series=sorted(series, key=lambda found: min(found.paths)),
        failures=failures,
        without_image=without_image,
    )


def read_series(series: DicomSeries) -> NDArray[np.float32]:
    """Read a series as (C, Z, Y, X) in canonical orientation, or (C, 1, H, W) without a position.

    Grey values are rescaled to what they measure (Hounsfield units), padding outside the field of
    view becomes the lowest of them, and images stored with white as 0 are turned round.

    Raises:
        DatasetError: if a file is damaged, compressed in a way that cannot be read here, or not
            what its header said.
        DependencyError: if pydicom is not installed.
    """
    shape = (len(series.paths), *series.size, series.channels)
    check_declared_size(series.paths[0], shape, np.dtype(np.float32).itemsize)
    stack = np.empty(shape, np.float32)
    known = np.ones(shape[:3], np.bool_)
    inverted = False
    for index, path in enumerate(series.paths):
        with _reading_dicom(path):
            inverted |= _read_pixels(path, stack[index], known[index])
    low, high = (stack[known].min(), stack[known].max()) if known.any() else (0, 0)
    if inverted:
        stack = low + high - stack
    stack[~known] = low
    if series.geometry is None:
        return np.ascontiguousarray(stack.transpose(3, 0, 1, 2))
    native = stack.transpose(2, 1, 0, 3)
    return np.ascontiguousarray(series.geometry.to_canonical(native))


@contextmanager
def _reading_dicom(path: Path) -> Iterator[None]:
    pydicom = require("pydicom", extra="dicom", purpose="read DICOM files")
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")  # pydicom's warnings quote the values of elements
        with reading(path, _EXPECTED, also=(pydicom.errors.InvalidDicomError,), quote=False):
            yield


def _read_header(path: Path) -> _Header | None:
    """Return what sorting needs, `None` for files without an image."""
    with _reading_dicom(path):
        from pydicom import dcmread

        data = dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))
        if data.get("Rows") is None and not (data.get("Modality") or _says_class(data)):
            raise unreadable(path, "a file that ends in its header", _EXPECTED)
        if data.get("Rows") is None or data.get("Modality") in _NO_IMAGES:
            return None
        if int(data.get("NumberOfFrames") or 1) > 1:
            raise DatasetError(
                "the DICOM file holds several frames",
                where=path,
                found=f"{int(data.NumberOfFrames)} frames",
                expected="one image per file",
                fix="convert it to a series of single images, or to NIfTI",
            )
        header = _Header(
            path=path,
            series=str(data.get("SeriesInstanceUID")),
            size=(int(data.Rows), int(data.Columns)),
            channels=int(data.get("SamplesPerPixel") or 1),
            itemsize=max(1, int(data.get("BitsAllocated") or 8) // 8),
            orientation=_numbers(data.get("ImageOrientationPatient"), 6),
            position=_numbers(data.get("ImagePositionPatient"), 3),
            spacing=(_numbers(data.get("PixelSpacing"), 2) or (1.0, 1.0))[:2],  # type: ignore[arg-type]  # two numbers
            thickness=float(data.get("SpacingBetweenSlices") or data.get("SliceThickness") or 1.0),
        )
        _check_kind(path, str(data.get("PhotometricInterpretation")), header.channels)
    check_declared_size(path, (*header.size, header.channels), header.itemsize)
    return header


def _says_class(data: Any) -> bool:  # Any: pydicom
    """Whether the file says what it is, as every complete one does, also a folder's index."""
    return bool(data.file_meta.get("MediaStorageSOPClassUID"))


def _check_kind(path: Path, photometric: str, channels: int) -> None:
    known = photometric in _GREY if channels == 1 else photometric.startswith(("RGB", "YBR"))
    if not known or channels not in (1, 3):
        named = photometric if photometric in _REPEATABLE else "colours of an unknown kind"
        raise unreadable(path, f"{channels} samples per pixel, {named}", _EXPECTED)


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:  # Any: an element's value
    numbers = tuple(float(item) for item in value) if value is not None and value != "" else ()
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _series(headers: list[_Header]) -> DicomSeries:
    first = headers[0]
    if not first.has_place:
        return DicomSeries(
            paths=(first.path,), size=first.size, channels=first.channels, geometry=None
        )
    ordered = sorted(headers, key=lambda header: header.depth)
    _check_distinct(ordered)
    positions = np.array([header.position for header in ordered], np.float64)
    step = first.normal * abs(first.thickness)
    if len(ordered) > 1:
        step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    beside = positions - positions[0] - np.arange(len(ordered))[:, None] * step
    rows, columns = first.size
    return DicomSeries(
        paths=tuple(header.path for header in ordered),
        size=first.size,
        channels=first.channels,
        geometry=geometry_for(
            ordered[0].path,
            shape=(columns, rows, len(ordered)),
            affine=_affine(ordered[0], step),
            channels=first.channels,
        ),
        evenly_spaced=bool(np.linalg.norm(beside, axis=1).max() <= _UNEVEN * np.linalg.norm(step)),
    )


def _check_distinct(ordered: Sequence[_Header]) -> None:
    for one, other in pairwise(ordered):
        if other.depth - one.depth < 1e-3:
            raise DatasetError(
                "two images of a DICOM series lie at the same place",
                where=one.path,
                found=f"{other.path.name} lies there too",
                expected="one image per place",
                fix="put every phase or repetition into a folder of its own, or remove the copy",
            )


def _affine(first: _Header, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (column, row, image) to millimetres.

    Source: DICOM PS3.3, C.7.6.2.1.1 (Image Position and Image Orientation).
    """
    assert first.orientation is not None  # it has a place
    assert first.position is not None
    between_rows, between_columns = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(first.orientation[:3]) * between_columns
    affine[:3, 1] = np.asarray(first.orientation[3:]) * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    return _TO_RAS @ affine


def _read_pixels(path: Path, out: NDArray[np.float32], known: NDArray[np.bool_]) -> bool:
    """Fill `out` (rows, columns, C) and `known`; return whether white is stored as the lowest."""
    from pydicom import dcmread

    data = dcmread(path)
    pixels = data.pixel_array
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape != out.shape:
        raise unreadable(path, f"pixels {pixels.shape}, header {out.shape}", _EXPECTED)
    if pixels.shape[2] == 1:
        known[:] = ~_is_padding(data, pixels[..., 0])
        slope, intercept = data.get("RescaleSlope"), data.get("RescaleIntercept")
        pixels = pixels * float(1 if slope is None else slope) + float(intercept or 0)
    out[:] = pixels
    return bool(data.PhotometricInterpretation == "MONOCHROME1")


def _is_padding(data: Any, pixels: NDArray[Any]) -> NDArray[np.bool_]:  # Any: pydicom
    """Return where nothing was measured.

    Source: DICOM PS3.3, C.7.5.1.1.2 (Pixel Padding Value and Range Limit).
    """
    value, limit = data.get("PixelPaddingValue"), data.get("PixelPaddingRangeLimit")
    if value is None:
        return np.zeros(pixels.shape, np.bool_)
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (pixels >= low) & (pixels <= high)
