"""DICOM segmentations through highdicom, frame by frame on the source images."""

from __future__ import annotations

import hashlib
import os
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import samft
from samft._deps import require
from samft.data.readers.limits import reading
from samft.data.sources import Source
from samft.errors import OutputError
from samft.inference.formats.base import ResultFormat
from samft.inference.formats.dicom_codes import DicomCode, DicomCodes
from samft.inference.output_folder import OutputFolder
from samft.inference.volume_result import VolumeObject, VolumeResult

_EPOCH = "SOURCE_DATE_EPOCH"
_SERIES_NUMBER = 900  # well behind what scanners use
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber"),
)
"""Every image states them, if only as empty; anonymising programs take them out altogether.
Source: DICOM PS3.3, C.7.1.1 and C.7.2.1, elements of type 2."""
_DATES = ("ContentDate", "InstanceCreationDate", "SeriesDate")
_TIMES = ("ContentTime", "InstanceCreationTime", "SeriesTime")
_MOST_SEGMENTS = np.iinfo(np.uint16).max


class DicomSegmentation(ResultFormat):
    """`dicom_seg/<name>.dcm`: one segment per object, patient and study as in the source.

    Where objects overlap, a voxel belongs to the one with the higher score. The environment
    variable SOURCE_DATE_EPOCH (seconds) sets the time that is written, for reproducible files.

    Args:
        folder: Where results go.
        codes: What the segments are.
    """

    def __init__(self, folder: OutputFolder, codes: DicomCodes | None = None) -> None:
        super().__init__(folder)
        self.codes = codes or DicomCodes()

    def check(self, source: Source) -> None:
        """See `ResultFormat`."""
        require("highdicom", extra="dicom", purpose="write DICOM segmentations")
        if source.space is None or source.space.kind != "dicom":
            raise OutputError(
                "a DICOM segmentation belongs to DICOM images",
                where=source.name,
                found="a file of another kind",
                fix="choose --format nifti or another, or narrow --source",
            )

    def write_volume(self, volume: VolumeResult) -> list[Path]:
        """See `ResultFormat`."""
        frames, objects = _numbered(volume)
        frames = _as_stored(frames, volume)
        if not objects:
            return []  # the standard knows no segmentation without a segment
        if len(objects) > _MOST_SEGMENTS:
            raise OutputError(
                "there are too many objects for a DICOM segmentation",
                where=volume.name,
                found=len(objects),
                expected=f"at most {_MOST_SEGMENTS}",
                fix="write --format nifti",
            )
        dataset = self._dataset(volume, frames, objects)
        place = self.folder.place("dicom_seg", volume.name, ".dcm")
        return [self.folder.write(place, dataset.save_as)]

    def _dataset(
        self, volume: VolumeResult, frames: NDArray[Any], objects: list[VolumeObject]
    ) -> Any:  # Any: pydicom has no types
        require("highdicom", extra="dicom", purpose="write DICOM segmentations")
        from highdicom.seg import Segmentation
        from pydicom import config, dcmread

        files = volume.space.files
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")  # they quote the source's elements
            with reading(files[0], "a DICOM series that can be referred to", quote=False):
                sources = [_complete(dcmread(path, stop_before_pixels=True)) for path in files]
                moment = _moment()
                uids = _Uids(sources, frames, repr(self.codes), moment.isoformat())
                dataset = Segmentation(
                    source_images=sources,
                    pixel_array=frames,
                    segmentation_type=self.codes.segmentation_type,
                    segment_descriptions=[
                        self._description(number, item, uids)
                        for number, item in enumerate(objects, start=1)
                    ],
                    series_instance_uid=uids.make("series"),
                    series_number=_SERIES_NUMBER,
                    sop_instance_uid=uids.make("instance"),
                    instance_number=1,
                    manufacturer=self.codes.manufacturer,
                    manufacturer_model_name="samft",
                    software_versions=samft.__version__,
                    device_serial_number="0",
                    series_description=self.codes.series_description,
                    content_description="Research use only, not for diagnosis",
                    content_label="RESEARCH",
                )
        return _dated(dataset, moment, uids)

    def _description(self, number: int, item: VolumeObject, uids: _Uids) -> Any:  # Any: highdicom
        from highdicom import AlgorithmIdentificationSequence
        from highdicom.seg import SegmentDescription
        from pydicom.sr.codedict import codes

        chosen = self.codes.of(item.class_name)
        return SegmentDescription(
            segment_number=number,
            segment_label=f"{item.class_name or 'object'} {item.value}"[:64],
            segmented_property_category=_concept(chosen.category),
            segmented_property_type=_concept(chosen.type),
            algorithm_type="AUTOMATIC",
            algorithm_identification=AlgorithmIdentificationSequence(
                name="samft", version=samft.__version__, family=codes.DCM.ArtificialIntelligence
            ),
            tracking_uid=uids.make(f"segment {number}"),
            tracking_id=f"samft {item.value}",
        )


class _Uids:
    """Identifiers that depend on what is written: the same file has the same, no other has."""

    def __init__(self, sources: list[Any], frames: NDArray[Any], *rest: str) -> None:
        total = hashlib.sha256(frames.tobytes())
        for part in (*(str(source.SOPInstanceUID) for source in sources), *rest):
            total.update(part.encode())
        self._entropy = total.hexdigest()

    def make(self, what: str) -> str:
        from pydicom.uid import generate_uid

        return str(generate_uid(entropy_srcs=[self._entropy, what]))


def _complete(header: Any) -> Any:  # Any: pydicom
    """Return a header that highdicom accepts: no empty character set, nothing missing but empty."""
    if "SpecificCharacterSet" in header and not header.SpecificCharacterSet:
        del header.SpecificCharacterSet
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, None)
    return header


def _numbered(volume: VolumeResult) -> tuple[NDArray[Any], list[VolumeObject]]:
    """Return frames (images, rows, columns) in the order of the source, numbered without gaps."""
    labels = volume.in_file_order()
    seen = set(np.unique(labels).tolist())
    objects = [item for item in volume.objects if item.value in seen]
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.uint16 if len(seen) > 256 else np.uint8)
    if len(objects) <= _MOST_SEGMENTS:
        numbers[[item.value for item in objects]] = np.arange(1, len(objects) + 1)
    return numbers[labels], objects


def _as_stored(frames: NDArray[Any], volume: VolumeResult) -> NDArray[Any]:
    """Return the planes in the order in which a file of several frames stores them.

    highdicom takes single images in the order of the files it is given, but the frames of a file as
    they come.
    """
    stored = volume.space.frames
    if stored is None:
        return frames
    if len(volume.space.files) > 1 or len(stored) != 1 + max(frame for _, frame in stored):
        raise OutputError(
            "a segmentation of some frames, or of several files of frames, cannot be written",
            where=volume.name,
            fix="write --format nifti",
        )
    return np.ascontiguousarray(frames[np.argsort([frame for _, frame in stored])])


def _concept(code: DicomCode) -> Any:  # Any: highdicom
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _moment() -> datetime:
    seconds = os.environ.get(_EPOCH, "")
    if seconds.isdecimal():
        return datetime.fromtimestamp(int(seconds), tz=UTC)
    return datetime.now(tz=UTC).replace(microsecond=0)


def _dated(dataset: Any, moment: datetime, uids: _Uids) -> Any:  # Any: pydicom
    """Date every element as the identifiers are, and make the last random one stable."""
    values = {
        **dict.fromkeys(_DATES, moment.strftime("%Y%m%d")),
        **dict.fromkeys(_TIMES, moment.strftime("%H%M%S")),
        "ContributionDateTime": moment.strftime("%Y%m%d%H%M%S"),
        "DimensionOrganizationUID": uids.make("dimensions"),
    }
    for element in dataset.iterall():
        if element.keyword in values:
            element.value = values[element.keyword]
    return dataset
