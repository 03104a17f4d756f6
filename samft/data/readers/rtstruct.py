"""Contours of DICOM structure sets (RTSTRUCT) through pydicom, filled on the grid of a series."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.contour_grid import SAME_PLANE_MM, ContourGrid
from samft.data.readers.dicom import DicomSeries
from samft.data.readers.dicom_file import items, key_of, load, reading_dicom
from samft.data.readers.dicom_labels import (
    LabelLayers,
    LabelObject,
    LayerStack,
    References,
    referenced,
)
from samft.data.readers.limits import unreadable
from samft.errors import DatasetError

RTSTRUCT = "a DICOM structure set (RTSTRUCT)"
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"})
_HEADER = (
    *("SOPClassUID", "Modality", "StructureSetROISequence", "ROIContourSequence"),
    *("ReferencedFrameOfReferenceSequence", "FrameOfReferenceUID"),
)


@dataclass(frozen=True, slots=True)
class _Contour:
    """A closed contour beside the image it belongs to.

    Args:
        image: Number of the image.
        depth: How far along the normal it lies, millimetres.
        beside: How far that is from the image.
        points: (N, 2) column and row in pixels of the image, the first pixel's centre at (0, 0).
    """

    image: int
    depth: float
    beside: float
    points: NDArray[np.float64]


def probe_rtstruct(path: Path) -> LabelObject:
    """Return what a structure set's header says: the structures, and the images it refers to.

    Structures without a closed contour (points, empty ones) are left out.

    Raises:
        DatasetError: if the file is damaged or no structure set.
        DependencyError: if pydicom is not installed.
    """
    with reading_dicom(path, RTSTRUCT):
        data = load(path, _HEADER)
        _check_class(path, data)
        names = _names(path, data)
        outlined = [
            names[number] for number, contours in _contours(path, data, names) if _closed(contours)
        ]
        frames = items(data, "ReferencedFrameOfReferenceSequence")
        series = [
            one
            for frame in frames
            for study in items(frame, "RTReferencedStudySequence")
            for one in items(study, "RTReferencedSeriesSequence")
        ]
        return LabelObject(
            path=path,
            kind="RTSTRUCT",
            names=tuple(dict.fromkeys(outlined)),
            size=None,
            references=References(
                series=frozenset(key_of(one.get("SeriesInstanceUID")) for one in series) - {""},
                instances=referenced(
                    image for one in series for image in items(one, "ContourImageSequence")
                ),
                frames_of_reference=_frames_of_reference(data, frames) - {""},
            ),
        )


def read_rtstruct(path: Path, series: DicomSeries) -> LabelLayers:
    """Fill the contours of a structure set on the grid of the series it belongs to.

    A pixel lies inside if its centre does. The contours of a structure in one image are combined
    by the even-odd rule: a contour within another is a hole, and keyholes stay open. Structures
    that overlap go to different layers. What cannot be filled is counted: points, open lines,
    contours that lie between the images or across them.

    Args:
        path: The structure set.
        series: The images.

    Raises:
        DatasetError: if the file is damaged, the series has no position, or no contour lies in it.
        DependencyError: if pydicom is not installed.
    """
    if series.positions is None:
        raise DatasetError(
            "contours belong to images whose position is known",
            where=path,
            found=f"{series.paths[0].name} states no position",
            expected="images with ImagePositionPatient",
        )
    with reading_dicom(path, RTSTRUCT):
        data = load(path)
        _check_class(path, data)
        names = _names(path, data)
        grid = ContourGrid(series)
        dropped: Counter[str] = Counter()
        filled = 0
        stack = LayerStack(path, series, 1 + len(items(data, "ROIContourSequence")))
        for value, (number, contours) in enumerate(_contours(path, data, names), start=1):
            kept = _at_images(list(_placed(path, contours, grid, dropped)), dropped)
            planes = {}
            for image, found in kept.items():
                mask = grid.fill([contour.points for contour in found])
                if mask.any():
                    planes[image] = mask
            filled += sum(map(len, kept.values()))
            if _closed(contours):
                stack.add(names[number], value, planes)
        _check_some(path, filled, dropped, series)
        return stack.finish(dropped)


def _placed(
    path: Path, contours: Sequence[Any], grid: ContourGrid, dropped: Counter[str]
) -> Iterator[_Contour]:
    for contour in contours:
        if not _is_closed(contour):
            dropped["points and open lines"] += 1
            continue
        points = _points(path, contour)
        if len(points) < 3:
            dropped["contours of fewer than 3 points"] += 1
            continue
        depths = grid.depths(points)
        image = grid.image_of(depths, grid.named(contour))
        if image is None:
            dropped["contours between or outside the images"] += 1
            continue
        depth = float(depths.mean())
        yield _Contour(image, depth, grid.beside(depth, image), grid.pixels(points, image))


def _at_images(found: list[_Contour], dropped: Counter[str]) -> dict[int, list[_Contour]]:
    """Keep for every image the contours of the one plane that is nearest to it.

    Contours drawn closer together than the images would otherwise cut holes into each other.
    """
    by_image: dict[int, list[_Contour]] = defaultdict(list)
    for contour in found:
        by_image[contour.image].append(contour)
    kept: dict[int, list[_Contour]] = {}
    for image, contours in by_image.items():
        depth = min(contours, key=lambda contour: contour.beside).depth
        kept[image] = [c for c in contours if abs(c.depth - depth) <= SAME_PLANE_MM]
        if len(kept[image]) < len(contours):
            dropped["contours between or outside the images"] += len(contours) - len(kept[image])
    return kept


def _points(path: Path, contour: Any) -> NDArray[np.float64]:  # Any: pydicom
    """Return the points (N, 3) of a contour in millimetres.

    A million numbers as pydicom's own decimal objects would take a gigabyte, so the text is parsed
    here where pydicom has not done it.
    """
    element = contour.get_item("ContourData") if "ContourData" in contour else None
    value = None if element is None else element.value
    if isinstance(value, bytes):
        text = value.strip(b" \0")
        found = np.fromstring(text, sep="\\") if text else np.zeros(0)
        if text and found.size != text.count(b"\\") + 1:
            raise unreadable(path, "a contour with something else than numbers", "x, y, z")
    else:
        found = np.atleast_1d(np.array([] if value is None else value, dtype=np.float64))
    if found.size % 3 or not np.isfinite(found).all():
        raise unreadable(path, "a contour with missing or infinite numbers", "x, y, z per point")
    return found.reshape(-1, 3)


def _names(path: Path, data: Any) -> dict[int, str]:  # Any: pydicom
    names: dict[int, str] = {}
    for item in items(data, "StructureSetROISequence"):
        number = int(item.ROINumber)
        name = " ".join(str(item.get("ROIName") or "").split())
        names[number] = name or f"structure {number}"
    if not names:
        raise unreadable(path, "no structures", RTSTRUCT)
    return names


def _contours(
    path: Path,
    data: Any,  # Any: pydicom
    names: dict[int, str],
) -> Iterator[tuple[int, Sequence[Any]]]:
    """Return the number and the contours of each structure that has any."""
    for item in items(data, "ROIContourSequence"):
        contours = items(item, "ContourSequence")
        if not len(contours):
            continue
        number = int(item.ReferencedROINumber)
        if number not in names:
            raise unreadable(path, "contours of a structure that is not listed", RTSTRUCT)
        yield number, contours


def _closed(contours: Sequence[Any]) -> bool:
    return any(_is_closed(contour) for contour in contours)


def _is_closed(contour: Any) -> bool:  # Any: pydicom
    return str(contour.get("ContourGeometricType")).upper() in _CLOSED


def _frames_of_reference(data: Any, frames: Sequence[Any]) -> frozenset[str]:  # Any: pydicom
    stated = [data, *frames]
    keys = {key_of(item.get("FrameOfReferenceUID")) for item in stated}
    for item in items(data, "StructureSetROISequence"):
        keys.add(key_of(item.get("ReferencedFrameOfReferenceUID")))
    return frozenset(keys)


def _check_class(path: Path, data: Any) -> None:  # Any: pydicom
    if str(data.get("SOPClassUID")) != RTSTRUCT_CLASS and data.get("Modality") != "RTSTRUCT":
        raise unreadable(path, "a DICOM file of another kind", RTSTRUCT)


def _check_some(path: Path, filled: int, dropped: Counter[str], series: DicomSeries) -> None:
    lost = dropped["contours between or outside the images"]
    if lost and not filled:
        raise DatasetError(
            "the contours and the images differ in position or orientation",
            where=path,
            found=f"none of {lost} contours lies in an image",
            expected=f"contours in the planes of the series of {series.paths[0].name}",
            fix="choose the structure set of this series with data.labels",
        )
