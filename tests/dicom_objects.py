"""DICOM objects that label images, element by element: segmentations, contours, frames."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from dicom_files import PATIENT
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


def item(**elements: object) -> Dataset:
    """Return a data set of these elements."""
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def new_file(path: Path, sop_class: str, modality: str, *, like: Path) -> FileDataset:
    """Return an object of the patient and study of an image."""
    image = pydicom.dcmread(like, stop_before_pixels=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.Modality = sop_class, modality
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID = generate_uid()
    data.PatientName = PATIENT
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        if keyword in image:
            setattr(data, keyword, image[keyword].value)
    return data


def segment(number: int, label: str | None, meaning: str = "Organ", **more: object) -> Dataset:
    """Return an item of the sequence of segments."""
    code = item(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning=meaning)
    category = item(CodeValue="2", CodingSchemeDesignator="99X", CodeMeaning="Anatomy")
    data = item(
        SegmentNumber=number,
        SegmentedPropertyTypeCodeSequence=[code],
        SegmentedPropertyCategoryCodeSequence=[category],
        **more,
    )
    if label is not None:
        data.SegmentLabel = label
    return data


def write_seg(
    path: Path,
    images: Sequence[Path],
    frames: Sequence[tuple[int | None, int, NDArray[np.generic]]],
    segments: Sequence[Dataset],
    *,
    kind: str = "BINARY",
    references: bool = True,
    positions: bool = True,
    turn: str = "",
    **changes: object,
) -> Path:
    """Write a segmentation.

    Args:
        path: Where.
        images: The single-frame images it belongs to.
        frames: Of each frame the segment (`None` in a label map), the number of the image, and the
            pixels as they lie on the image.
        segments: The segments.
        kind: BINARY, FRACTIONAL or LABELMAP.
        references: Whether frames and object name the images.
        positions: Whether frames say where they lie.
        turn: `x` or `y` to mirror columns or rows, `t` to transpose; any of them together.
        changes: Elements to set, by keyword; `None` deletes one.
    """
    sources = [pydicom.dcmread(image, stop_before_pixels=True) for image in images]
    data = new_file(path, LABEL_MAP if kind == "LABELMAP" else SEGMENTATION, "SEG", like=images[0])
    data.SegmentationType, data.SegmentSequence = kind, list(segments)
    groups, planes = [], []
    spacing, directions = None, None
    for number, image, pixels in frames:
        source = sources[image]
        group, plane, spacing, directions = _frame(source, pixels, turn)
        if number is not None:
            group.SegmentIdentificationSequence = [item(ReferencedSegmentNumber=number)]
        if references:
            named = item(ReferencedSOPInstanceUID=source.SOPInstanceUID)
            group.DerivationImageSequence = [item(SourceImageSequence=[named])]
        if not positions:
            del group.PlanePositionSequence
        groups.append(group)
        planes.append(plane)
    if references:
        instances = [item(ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in sources]
        uid = sources[0].SeriesInstanceUID
        data.ReferencedSeriesSequence = [
            item(SeriesInstanceUID=uid, ReferencedInstanceSequence=instances)
        ]
    shared = Dataset()
    if positions:
        shared.PlaneOrientationSequence = [item(ImageOrientationPatient=directions)]
        shared.PixelMeasuresSequence = [item(PixelSpacing=spacing)]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = groups
    data.NumberOfFrames = len(frames)
    _pixels(data, np.stack(planes), kind)
    return _save(data, path, changes)


def write_rtstruct(
    path: Path,
    images: Sequence[Path],
    structures: Sequence[tuple[str, Sequence[tuple[str, int | None, NDArray[np.float64]]]]],
    *,
    references: bool = True,
    **changes: object,
) -> Path:
    """Write a structure set.

    Args:
        path: Where.
        images: The images it belongs to.
        structures: Of each structure its name, and of each contour the type, the number of the
            image it names, or `None`, and its points (N, 3) in millimetres.
        references: Whether the object names its series.
        changes: Elements to set, by keyword; `None` deletes one.
    """
    sources = [pydicom.dcmread(image, stop_before_pixels=True) for image in images]
    data = new_file(path, STRUCTURE_SET, "RTSTRUCT", like=images[0])
    data.StructureSetROISequence = [
        item(ROINumber=7 + index, ROIName=name) for index, (name, _) in enumerate(structures)
    ]
    data.ROIContourSequence = []
    for index, (_, contours) in enumerate(structures):
        listed = []
        for kind, image, points in contours:
            values = [f"{value:.4f}" for value in points.reshape(-1)]
            contour = item(
                ContourGeometricType=kind, ContourData=values, NumberOfContourPoints=len(points)
            )
            if image is not None:
                uid = sources[image].SOPInstanceUID
                contour.ContourImageSequence = [item(ReferencedSOPInstanceUID=uid)]
            listed.append(contour)
        roi = item(ReferencedROINumber=7 + index)
        if listed:
            roi.ContourSequence = listed
        data.ROIContourSequence.append(roi)
    if references:
        named = [item(ReferencedSOPInstanceUID=source.SOPInstanceUID) for source in sources]
        uid = sources[0].SeriesInstanceUID
        series = item(SeriesInstanceUID=uid, ContourImageSequence=named)
        study = item(RTReferencedSeriesSequence=[series])
        data.ReferencedFrameOfReferenceSequence = [item(RTReferencedStudySequence=[study])]
    return _save(data, path, changes)


def write_multiframe(
    path: Path, images: Sequence[Path], order: Sequence[int] | None = None, **changes: object
) -> Path:
    """Write single images as frames of one enhanced CT.

    Args:
        path: Where.
        images: The images.
        order: The images' numbers in the order of the frames; default: their own.
        changes: Elements to set, by keyword; `None` deletes one.
    """
    sources = [pydicom.dcmread(image) for image in images]
    data = new_file(path, ENHANCED_CT, "CT", like=images[0])
    first = sources[0]
    for keyword in ("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"):
        setattr(data, keyword, first[keyword].value)
    for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(data, keyword, first[keyword].value)
    data.PixelPaddingValue = first.PixelPaddingValue
    order = list(range(len(sources))) if order is None else list(order)
    data.SharedFunctionalGroupsSequence = [
        item(
            PlaneOrientationSequence=[item(ImageOrientationPatient=first.ImageOrientationPatient)],
            PixelMeasuresSequence=[
                item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
            ],
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=sources[i].ImagePositionPatient)],
            PixelValueTransformationSequence=[
                item(
                    RescaleSlope=sources[i].RescaleSlope,
                    RescaleIntercept=sources[i].RescaleIntercept,
                )
            ],
        )
        for i in order
    ]
    data.NumberOfFrames = len(order)
    data.PixelData = b"".join(sources[i].PixelData for i in order)
    return _save(data, path, changes)


def _frame(
    source: Dataset, pixels: NDArray[np.generic], turn: str
) -> tuple[Dataset, NDArray[np.generic], list[float], list[float]]:
    place = np.array(source.ImagePositionPatient, float)
    across, down = np.array(source.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = (float(value) for value in source.PixelSpacing)
    rows, columns = pixels.shape
    if "x" in turn:
        place, across, pixels = (
            place + across * between_columns * (columns - 1),
            -across,
            (pixels[:, ::-1]),
        )
    if "y" in turn:
        place, down, pixels = place + down * between_rows * (rows - 1), -down, pixels[::-1]
    if "t" in turn:
        across, down, pixels = down, across, pixels.T
        between_rows, between_columns = between_columns, between_rows
    group = item(PlanePositionSequence=[item(ImagePositionPatient=[f"{v:.6f}" for v in place])])
    return group, pixels, [between_rows, between_columns], [*across, *down]


def _pixels(data: Dataset, planes: NDArray[np.generic], kind: str) -> None:
    data.Rows, data.Columns = planes.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 1 if kind == "BINARY" else 8 * planes.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    if kind == "BINARY":
        content = np.packbits(planes.reshape(-1) > 0, bitorder="little").tobytes()
    else:
        content = planes.astype(planes.dtype.newbyteorder("<")).tobytes()
    data.PixelData = content + b"\0" * (len(content) % 2)


def _save(data: FileDataset, path: Path, changes: dict[str, object]) -> Path:
    for keyword, value in changes.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path
