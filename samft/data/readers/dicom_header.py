"""The headers of DICOM images: one for a file, or one for every frame of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.dicom_file import (
    first_item,
    in_groups,
    is_native,
    items,
    key_of,
    load,
    numbers,
    reading_dicom,
)
from samft.data.readers.limits import check_declared_size, unreadable
from samft.errors import DatasetError

DICOM_IMAGE = "a DICOM image"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_REPEATABLE = frozenset({*_GREY, "RGB", "PALETTE COLOR", "HSV", "ARGB", "CMYK", "YBR_FULL"})
_NO_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "PR", "KO", "SR", "REG", "DOC"})
_PHASES = (
    *("TemporalPositionIdentifier", "AcquisitionNumber", "EchoNumbers", "EchoTime"),
    *("TriggerTime", "DiffusionBValue", "ImageType"),
)
"""What tells apart images of one place, of single images."""
_FRAME_PHASES = (
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
)
"""What tells apart frames of one place. Source: DICOM PS3.3, C.7.6.16 and C.8.13."""
_HEADER = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"),
    *("FrameOfReferenceUID", "ConcatenationUID", "TotalPixelMatrixColumns", *_PHASES),
    *("Modality", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated"),
    *("PhotometricInterpretation", "ImageOrientationPatient", "PixelSpacing"),
    *("ImagePositionPatient", "SpacingBetweenSlices", "SliceThickness"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What sorting needs to know of an image or frame; identifiers are keys, see `key_of`.

    Args:
        path: The file.
        instance: Its instance.
        series: Its series.
        case: Its patient; where that is not stated its study, or its series.
        frame_of_reference: What its position refers to.
        size: (rows, columns).
        channels: Samples per pixel.
        orientation: Directions of a row and of a column, x left, y back, z up; `None` if unknown.
        position: Centre of its first pixel in millimetres, x left, y back, z up.
        spacing: Millimetres between rows, between columns.
        thickness: Millimetres from one image to the next, where the header says so.
        phases: What tells it from other images of the same place.
        frame: Its number in its file, from 0; `None` if the file is one image.
        group: The instance or concatenation that the frame is one of.
    """

    path: Path
    instance: str
    series: str
    case: str
    frame_of_reference: str
    size: tuple[int, int]
    channels: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, float]
    thickness: float
    phases: tuple[str, ...] = ()
    frame: int | None = None
    group: str = ""

    @property
    def has_place(self) -> bool:
        """Whether it is known where the image lies."""
        return self.orientation is not None and self.position is not None

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction that the plane's rows and columns leave."""
        assert self.orientation is not None  # asked for only of images with a place
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def depth(self) -> float:
        """How far along the normal the image lies, millimetres."""
        assert self.position is not None  # as above
        return float(self.normal @ np.asarray(self.position))


def read_headers(path: Path) -> list[ImageHeader] | None:
    """Return a header per image of a file, `None` for a file without images.

    Raises:
        DatasetError: if the file is damaged, or of a kind that cannot be used.
        DependencyError: if pydicom is not installed.
    """
    with reading_dicom(path, DICOM_IMAGE):
        data = load(path, _HEADER)
        if data.get("Rows") is None and (_is_image(data) or not _says_what(data)):
            raise unreadable(path, "a file that ends in its header", DICOM_IMAGE)
        if data.get("Rows") is None or data.get("Modality") in _NO_IMAGES:
            return None
        if data.get("TotalPixelMatrixColumns") is not None or data.get("Modality") == "SM":
            raise unreadable(path, "a whole slide image, stored in tiles", DICOM_IMAGE)
        header = _header(path, data)
        _check_kind(path, str(data.get("PhotometricInterpretation")), header.channels)
        count = int(data.get("NumberOfFrames") or 1)
        itemsize = max(1, int(data.get("BitsAllocated") or 8) // 8)
        check_declared_size(path, (count, *header.size, header.channels), itemsize)
        groups = items(data, "PerFrameFunctionalGroupsSequence")
        if count == 1 and not len(groups):
            return [header]
        needed = int(np.prod((count, *header.size, header.channels))) * itemsize
        _check_complete(path, data, count, needed)
        if not len(groups):
            return _plain_frames(header, count)
        if len(groups) != count:
            raise unreadable(path, f"{count} frames, {len(groups)} described", DICOM_IMAGE)
        shared = first_item(data, "SharedFunctionalGroupsSequence")
        return [_frame(header, index, group, shared) for index, group in enumerate(groups)]


def _header(path: Path, data: Any) -> ImageHeader:  # Any: pydicom
    orientation = numbers(data.get("ImageOrientationPatient"), 6)
    instance = key_of(data.get("SOPInstanceUID"))
    series = key_of(data.get("SeriesInstanceUID"))
    return ImageHeader(
        path=path,
        instance=instance,
        series=series,
        case=key_of(data.get("PatientID")) or key_of(data.get("StudyInstanceUID")) or series,
        frame_of_reference=key_of(data.get("FrameOfReferenceUID")),
        size=(int(data.Rows), int(data.Columns)),
        channels=int(data.get("SamplesPerPixel") or 1),
        orientation=orientation,
        position=numbers(data.get("ImagePositionPatient"), 3),
        spacing=_spacing(data.get("PixelSpacing")),
        thickness=float(data.get("SpacingBetweenSlices") or data.get("SliceThickness") or 1.0),
        phases=tuple(str(data.get(keyword)) for keyword in _PHASES),
        group=key_of(data.get("ConcatenationUID")) or instance,
    )


def _plain_frames(header: ImageHeader, count: int) -> list[ImageHeader]:
    """Frames of which is known only that one follows the other: a cine loop, an older scanner."""
    nowhere = replace(header, orientation=None, position=None)
    return [replace(nowhere, frame=index) for index in range(count)]


def _frame(header: ImageHeader, index: int, group: Any, shared: Any) -> ImageHeader:  # Any: pydicom
    orientation = in_groups(group, shared, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = in_groups(group, shared, "PlanePositionSequence", "ImagePositionPatient")
    if position is None:  # ultrasound, whose place is known within the volume
        position = in_groups(group, shared, "PlanePositionVolumeSequence", "ImagePositionVolume")
        orientation = in_groups(
            group, shared, "PlaneOrientationVolumeSequence", "ImageOrientationVolume"
        )
    between = [
        in_groups(group, shared, "PixelMeasuresSequence", keyword)
        for keyword in ("SpacingBetweenSlices", "SliceThickness")
    ]
    spacing = in_groups(group, shared, "PixelMeasuresSequence", "PixelSpacing")
    return replace(
        header,
        frame=index,
        orientation=numbers(orientation, 6),
        position=numbers(position, 3),
        spacing=header.spacing if spacing is None else _spacing(spacing),
        thickness=float(between[0] or between[1] or header.thickness),
        phases=tuple(str(in_groups(group, shared, *phase)) for phase in _FRAME_PHASES),
    )


def _spacing(value: Any) -> tuple[float, float]:  # Any: an element's value
    between_rows, between_columns = numbers(value, 2) or (1.0, 1.0)
    return between_rows, between_columns


def _says_what(data: Any) -> bool:  # Any: pydicom
    """Whether the file says what it is, as every complete one does, also a folder's index."""
    return bool(data.get("Modality") or data.file_meta.get("MediaStorageSOPClassUID"))


def _is_image(data: Any) -> bool:  # Any: pydicom
    """Whether the file says that it is an image, which then has rows."""
    stated = data.get("SOPClassUID") or data.file_meta.get("MediaStorageSOPClassUID")
    return str(getattr(stated, "name", "")).endswith("Image Storage")


def _check_kind(path: Path, photometric: str, channels: int) -> None:
    known = photometric in _GREY if channels == 1 else photometric.startswith(("RGB", "YBR"))
    if not known or channels not in (1, 3):
        named = photometric if photometric in _REPEATABLE else "colours of an unknown kind"
        raise unreadable(path, f"{channels} samples per pixel, {named}", DICOM_IMAGE)


def _check_complete(path: Path, data: Any, count: int, needed: int) -> None:  # Any: pydicom
    """Refuse a number of frames that the file cannot hold, before a header is made for each."""
    stored = path.stat().st_size
    deflated = data.file_meta.TransferSyntaxUID.is_deflated
    # YBR_FULL_422 stores two values per pixel; a compressed frame takes 8 bytes at least.
    least = needed * 2 // 3 if is_native(data) else count * 8
    if least > stored and not deflated:
        raise DatasetError(
            "the DICOM file holds several frames, but not all that its header states",
            where=path,
            found=f"{count} frames stated, {stored} bytes in all",
            expected=f"at least {least} bytes",
            fix="copy it again from its source, or take it out of the data set",
        )
