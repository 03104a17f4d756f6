"""DICOM image series through pydicom, sorted by where their images lie in the patient.

Images are files of their own, or frames of a file. Nothing of what a file says about a patient
leaves these readers: names come from folders and files, identifiers become keys.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.dicom_file import DICOM_SUFFIXES, is_dicom, reading_dicom
from samft.data.readers.dicom_header import DICOM_IMAGE, ImageHeader, read_headers
from samft.data.readers.dicom_pixels import read_planes
from samft.data.readers.limits import check_declared_size
from samft.data.readers.volume import VolumeGeometry, geometry_for
from samft.errors import DatasetError, SamftError

__all__ = [
    "DICOM_SUFFIXES",
    "DicomSeries",
    "FoundSeries",
    "SeriesKeys",
    "find_series",
    "is_dicom",
    "read_series",
]

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM: x left, y back; the affine: x right, y front
_APART_MM = 1e-3  # images that lie closer lie at one place
_UNEVEN = 0.02  # share of the step by which a slice may lie beside its place


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesKeys:
    """Keys that tell whether two files speak of the same thing; they name nothing.

    Args:
        case: The patient; where that is not stated the study, or the series.
        series: The series.
        frame_of_reference: What positions refer to; empty if that is not stated.
        instances: For every image of the stack, the file's instance.
    """

    case: str = ""
    series: str = ""
    frame_of_reference: str = ""
    instances: tuple[str, ...] = ()


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
        frames: For every image the number of its file and of its frame, from 0, where files hold
            frames; `None` where every file is an image.
        orientation: Directions of a row and of a column, x left, y back, z up.
        spacing: Millimetres between rows, between columns.
        positions: (K, 3) centre of the first pixel of every image, x left, y back, z up, in
            millimetres; `None` if it is not known where the images lie.
        keys: What the files of labels refer to.
    """

    paths: tuple[Path, ...]
    size: tuple[int, int]
    channels: int
    geometry: VolumeGeometry | None
    evenly_spaced: bool = True
    frames: tuple[tuple[int, int], ...] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, float] = (1.0, 1.0)
    positions: NDArray[np.float64] | None = None
    keys: SeriesKeys = field(default_factory=SeriesKeys)

    @property
    def images(self) -> int:
        """How many images lie behind each other."""
        return len(self.paths) if self.frames is None else len(self.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundSeries:
    """What a number of DICOM files holds.

    Args:
        series: The image series, by the path of their first file.
        failures: Files that cannot be used, with the reason.
        without_image: How many files are no images (segmentations, contours, reports).
        others: Those files.
        mixed: How many series hold more than one stack: images of different size, direction,
            echo or time.
    """

    series: list[DicomSeries]
    failures: list[tuple[Path, SamftError]]
    without_image: int
    others: tuple[Path, ...] = ()
    mixed: int = 0


def find_series(paths: Sequence[Path]) -> FoundSeries:
    """Sort DICOM files into series; only their headers are read.

    A series whose images differ in size or direction (an overview beside the slices), or lie at the
    same places again (echoes, points in time), is taken apart. Images without a position are a
    series each; frames without one are a stack in the order of their file.

    Raises:
        DependencyError: if pydicom is not installed.
    """
    groups: dict[tuple[object, ...], list[ImageHeader]] = defaultdict(list)
    failures: list[tuple[Path, SamftError]] = []
    others: list[Path] = []
    for path in sorted(paths):
        try:
            headers = read_headers(path)
        except DatasetError as error:
            failures.append((path, error))
            continue
        if headers is None:
            others.append(path)
        for header in headers or ():
            groups[_group(header)].append(header)
    series: list[DicomSeries] = []
    for headers in groups.values():
        try:
            series += [_series(stack) for stack in _stacks(headers)]
        except DatasetError as error:
            failures.append((headers[0].path, error))
    return FoundSeries(
        series=sorted(series, key=lambda found: (min(found.paths), found.frames or ())),
        failures=failures,
        without_image=len(others),
        others=tuple(others),
        mixed=_count_mixed(series),
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
    shape = (series.images, *series.size, series.channels)
    check_declared_size(series.paths[0], shape, np.dtype(np.float32).itemsize)
    stack = np.empty(shape, np.float32)
    known = np.ones(shape[:3], np.bool_)
    inverted = False
    for number, path in enumerate(series.paths):
        places = _places(series, number)
        with reading_dicom(path, DICOM_IMAGE):
            inverted |= read_planes(path, places, stack, known)
    low, high = (stack[known].min(), stack[known].max()) if known.any() else (0, 0)
    if inverted:
        stack = low + high - stack
    stack[~known] = low
    if series.geometry is None:
        return np.ascontiguousarray(stack.transpose(3, 0, 1, 2))
    native = stack.transpose(2, 1, 0, 3)
    return np.ascontiguousarray(series.geometry.to_canonical(native))


def _places(series: DicomSeries, number: int) -> dict[int | None, int]:
    """Return where in the stack the frames of a file belong; a file that is an image has `None`."""
    if series.frames is None:
        return {None: number}
    return {frame: place for place, (file, frame) in enumerate(series.frames) if file == number}


def _group(header: ImageHeader) -> tuple[object, ...]:
    if not header.has_place:
        return (header.path,)
    direction = tuple(round(value, 3) + 0.0 for value in header.orientation or ())
    return (
        header.series,
        header.group * (header.frame is not None),
        header.size,
        header.channels,
        direction,
    )


def _stacks(headers: list[ImageHeader]) -> list[list[ImageHeader]]:
    """Take images apart that lie at the same places again: echoes, points in time."""
    if not headers[0].has_place:
        return [headers]
    ordered = sorted(headers, key=lambda header: header.depth)
    twice = _at_one_place(ordered)
    if twice is None:
        return [ordered]
    places = 1 + sum(after.depth - before.depth >= _APART_MM for before, after in pairwise(ordered))
    for choose in (*range(len(ordered[0].phases)), slice(None)):
        parts: dict[object, list[ImageHeader]] = defaultdict(list)
        for header in ordered:
            parts[header.phases[choose]].append(header)
        complete = all(len(part) == places for part in parts.values())
        if complete and not any(map(_at_one_place, parts.values())):
            return list(parts.values())
    one, other = twice
    raise DatasetError(
        "two images of a DICOM series lie at the same place",
        where=one.path,
        found=f"{other.path.name} lies there too",
        expected="one image per place",
        fix="put every phase or repetition into a folder of its own, or remove the copy",
    )


def _at_one_place(ordered: Sequence[ImageHeader]) -> tuple[ImageHeader, ImageHeader] | None:
    return next(
        (pair for pair in pairwise(ordered) if pair[1].depth - pair[0].depth < _APART_MM), None
    )


def _series(ordered: list[ImageHeader]) -> DicomSeries:
    first = ordered[0]
    paths = tuple(dict.fromkeys(header.path for header in ordered))
    number = {path: index for index, path in enumerate(paths)}
    frames = [(number[h.path], h.frame) for h in ordered if h.frame is not None]
    positions, even = None, True
    geometry: VolumeGeometry | None = None
    if first.has_place:
        positions = np.array([header.position for header in ordered], np.float64)
        step = first.normal * abs(first.thickness)
        if len(ordered) > 1:
            step = (positions[-1] - positions[0]) / (len(ordered) - 1)
        beside = positions - positions[0] - np.arange(len(ordered))[:, None] * step
        even = bool(np.abs(beside).max() <= _UNEVEN * np.linalg.norm(step))
        geometry = _geometry(first, len(ordered), _affine(first, step))
    elif frames:
        geometry = _geometry(first, len(ordered), _nowhere(first))
    return DicomSeries(
        paths=paths,
        size=first.size,
        channels=first.channels,
        geometry=geometry,
        evenly_spaced=even,
        frames=tuple(frames) or None,
        orientation=first.orientation,
        spacing=first.spacing,
        positions=positions,
        keys=SeriesKeys(
            case=first.case,
            series=first.series,
            frame_of_reference=first.frame_of_reference,
            instances=tuple(header.instance for header in ordered),
        ),
    )


def _geometry(first: ImageHeader, images: int, affine: NDArray[np.float64]) -> VolumeGeometry:
    rows, columns = first.size
    return geometry_for(first.path, shape=(columns, rows, images), affine=affine)


def _affine(first: ImageHeader, step: NDArray[np.float64]) -> NDArray[np.float64]:
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


def _nowhere(first: ImageHeader) -> NDArray[np.float64]:
    """An affine that keeps rows, columns and images in the order of the file."""
    between_rows, between_columns = first.spacing
    return np.diag([-between_columns, -between_rows, -abs(first.thickness), 1.0])


def _count_mixed(series: Sequence[DicomSeries]) -> int:
    stacks: dict[str, int] = defaultdict(int)
    for found in series:
        stacks[found.keys.series] += found.geometry is not None
    return sum(count > 1 for count in stacks.values())
