"""Small DICOM series with a bright blob at a known place in the patient."""

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROWS, COLUMNS, SLICES = 20, 26, 5
PATIENT = "Doe^Jane"
"""Planted, so that tests can look for it where it must not be."""
PADDING = -2000
STEP = 4.0
AXIAL = ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
OBLIQUE = ([0.8, 0.6, 0.0], [-0.48, 0.64, 0.6])


def values() -> NDArray[np.int16]:
    """Return (SLICES, ROWS, COLUMNS) in Hounsfield units: a blob of 200 in water."""
    stack = np.zeros((SLICES, ROWS, COLUMNS), np.int16)
    stack[1:3, 4:9, 15:22] = 200
    stack[3, 6:8, 16:18] = 200
    return stack


def write_series(
    folder: Path,
    stack: NDArray[np.int16] | None = None,
    *,
    orientation: tuple[list[float], list[float]] = AXIAL,
    reverse: bool = False,
    spacing: tuple[float, float] = (0.7, 0.9),
    series: str | None = None,
    suffix: str = ".dcm",
    **changes: object,
) -> list[Path]:
    """Write a CT series and return its files in the order of their names.

    Args:
        folder: Where.
        stack: Hounsfield units; default `values()`.
        orientation: Directions of rows and columns.
        reverse: Number the files and instances from the far end.
        spacing: Between rows, between columns.
        series: UID.
        suffix: Ending of the names.
        changes: Elements to set, by keyword; `None` deletes one.
    """
    stack = values() if stack is None else stack
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": series or generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
    }
    normal = np.cross(*orientation)
    paths = []
    for index, plane in enumerate(stack):
        number = len(stack) - index if reverse else index + 1
        path = folder / f"im{number:03d}{suffix}"
        data = _dataset(path, common)
        place = np.array([-30.0, 12.0, 50.0]) + index * STEP * normal
        data.ImagePositionPatient = [float(f"{value:.6f}") for value in place]
        data.ImageOrientationPatient = [*orientation[0], *orientation[1]]
        data.PixelSpacing = list(spacing)
        data.SliceThickness = STEP
        data.InstanceNumber = number
        data.Rows, data.Columns = plane.shape
        raw = plane + 1024
        raw[0, :3] = PADDING  # outside the field of view
        data.PixelData = raw.astype("<i2").tobytes()
        for name, value in changes.items():
            if value is None:
                delattr(data, name)
            else:
                setattr(data, name, value)
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return sorted(paths)


def bright_centre(paths: list[Path], threshold: float = 100) -> NDArray[np.float64]:
    """Return the centre of the bright pixels in patient coordinates, by the standard's formula.

    Source: DICOM PS3.3, C.7.6.2.1.1.
    """
    points = []
    for path in paths:
        data = pydicom.dcmread(path)
        rows, columns = np.nonzero(data.pixel_array - 1024.0 > threshold)
        points.append(pixel_places(data, rows, columns))
    return np.concatenate(points).mean(axis=0)


def pixel_places(
    data: pydicom.Dataset, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the patient coordinates (n, 3) of pixels of a plane."""
    along = np.array(data.ImageOrientationPatient, float)
    between_rows, between_columns = (float(value) for value in data.PixelSpacing)
    place = np.array(data.ImagePositionPatient, float)
    return (
        place
        + columns[:, None] * between_columns * along[:3]
        + rows[:, None] * between_rows * along[3:]
    )


def _dataset(path: Path, common: dict[str, str]) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID = PATIENT, "MRN-4711"
    data.PatientBirthDate, data.PatientSex = "19700101", "F"
    data.StudyID, data.AccessionNumber = "1", "2"
    data.StudyDate, data.StudyTime = "20200101", "120000"
    data.ReferringPhysicianName, data.Manufacturer = "", "maker"
    data.Modality, data.SeriesNumber = "CT", 3
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelPaddingValue = PADDING
    for name, value in common.items():
        setattr(data, name, value)
    return data
