"""DICOM segmentations (SEG) through pydicom: bits, fractions, label maps.

A frame of a segmentation belongs to an image because it refers to it, or else because it lies where
the image lies; the order of frames means nothing. Frames that are not there are empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.dicom import DicomSeries
from samft.data.readers.dicom_file import first_item, in_groups, items, key_of, load, reading_dicom
from samft.data.readers.dicom_labels import (
    LabelLayers,
    LabelObject,
    LayerStack,
    References,
    label_references,
    referenced,
)
from samft.data.readers.dicom_placement import FramePlacement
from samft.data.readers.dicom_segments import DicomSegment, read_segments
from samft.data.readers.limits import check_declared_size, unreadable
from samft.errors import ConfigError, DatasetError

DICOM_SEG = "a DICOM segmentation"
SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes of segmentations and of label map segmentations."""
DEFAULT_THRESHOLD = 0.5
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_HEADER = (
    *("SOPClassUID", "Modality", "Rows", "Columns", "SegmentationType", "SegmentSequence"),
    *("FrameOfReferenceUID", "ReferencedSeriesSequence", "SourceImageSequence"),
    *("StudiesContainingOtherReferencedInstancesSequence", "PixelPaddingValue"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frames:
    """How the frames lie in the file."""

    path: Path
    data: Any  # Any: pydicom
    kind: str
    count: int
    size: tuple[int, int]

    def read(self, wanted: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Decode some frames, each (rows, columns)."""
        rows, columns = self.size
        if self.data.file_meta.TransferSyntaxUID.is_compressed or self.data.BitsAllocated != 1:
            from pydicom.pixels.utils import iter_pixels

            for frame in iter_pixels(self.data, indices=wanted) if wanted else ():
                if frame.shape != self.size:
                    raise unreadable(self.path, f"pixels {frame.shape}", f"{self.size}")
                yield frame
            return
        packed = np.frombuffer(self.data.PixelData, np.uint8)
        for index in wanted:  # frames follow each other bit by bit, not beginning with a byte
            first, last = index * rows * columns, (index + 1) * rows * columns
            bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
            yield bits[first % 8 :][: rows * columns].reshape(self.size)


def probe_dicom_seg(path: Path) -> LabelObject:
    """Return what a segmentation's header says: its segments, and the images it refers to.

    Raises:
        DatasetError: if the file is damaged or no segmentation.
        DependencyError: if pydicom is not installed.
    """
    with reading_dicom(path, DICOM_SEG):
        data = load(path, _HEADER)
        _check_class(path, data)
        instances = label_references(data)
        if not instances:  # older programs say it of every frame only
            instances = referenced(_sources(load(path, _GROUPS)))
        series = items(data, "ReferencedSeriesSequence")
        frames_of_reference = {key_of(data.get("FrameOfReferenceUID"))} - {""}
        segments = read_segments(path, data)
        return LabelObject(
            path=path,
            kind="SEG",
            names=tuple(dict.fromkeys(segment.name for segment in segments.values())),
            size=(int(data.Rows), int(data.Columns)),
            references=References(
                series=frozenset(key_of(item.get("SeriesInstanceUID")) for item in series) - {""},
                instances=instances,
                frames_of_reference=frozenset(frames_of_reference),
            ),
        )


def read_dicom_seg(
    path: Path, series: DicomSeries, *, threshold: float = DEFAULT_THRESHOLD
) -> LabelLayers:
    """Read a segmentation onto the grid of the series it belongs to.

    Segments that overlap go to different layers; a segment's value is its number in the file.

    Args:
        path: The segmentation.
        series: The images.
        threshold: Of probabilities and occupancies, 0 to 1: what lies inside from this value on.

    Raises:
        DatasetError: if the file is damaged, or lies on another grid than the series: another frame
            of reference, size, orientation, spacing or position.
        ConfigError: if the threshold is not between 0 and 1.
        DependencyError: if pydicom is not installed.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(
            "the threshold of a fractional segmentation is a share",
            where="data.threshold",
            found=threshold,
            expected="above 0, at most 1",
            fix=f"leave it out, or set it to {DEFAULT_THRESHOLD}",
        )
    with reading_dicom(path, DICOM_SEG):
        data = load(path)
        _check_class(path, data)
        _check_frame_of_reference(path, data, series)
        segments = read_segments(path, data)
        frames = _frames(path, data)
        groups = items(data, "PerFrameFunctionalGroupsSequence")
        if len(groups) != frames.count:
            raise unreadable(path, f"{frames.count} frames, {len(groups)} described", DICOM_SEG)
        placement = FramePlacement(path, series, data)
        stack = LayerStack(path, series, max(segments, default=1))
        if frames.kind == "LABELMAP":
            _add_label_map(stack, frames, segments, placement)
        else:
            _add_masks(stack, frames, segments, placement, threshold)
        return stack.finish({})


def _add_masks(
    stack: LayerStack,
    frames: _Frames,
    segments: dict[int, DicomSegment],
    placement: FramePlacement,
    threshold: float,
) -> None:
    """Add the segments of a file with a frame for every segment and image."""
    belonging: dict[int, list[int]] = defaultdict(list)
    shared = first_item(frames.data, "SharedFunctionalGroupsSequence")
    for index, group in enumerate(frames.data.PerFrameFunctionalGroupsSequence):
        number = in_groups(
            group, shared, "SegmentIdentificationSequence", "ReferencedSegmentNumber"
        )
        if number is None or int(number) not in segments:
            raise unreadable(
                frames.path, f"frame {index + 1} of no segment", "frames of listed segments"
            )
        belonging[int(number)].append(index)
    least = 1.0
    if frames.kind == "FRACTIONAL":
        least = threshold * float(frames.data.get("MaximumFractionalValue") or 255)
    for number, segment in segments.items():
        planes: dict[int, NDArray[np.bool_]] = {}
        for index, frame in zip(belonging[number], frames.read(belonging[number]), strict=True):
            mask = frame >= least
            if mask.any():
                image, turned = placement.put(index, mask)
                planes[image] = planes[image] | turned if image in planes else turned
        if not segment.is_background:
            stack.add(segment.name, number, planes)


def _add_label_map(
    stack: LayerStack,
    frames: _Frames,
    segments: dict[int, DicomSegment],
    placement: FramePlacement,
) -> None:
    """Add the segments of a file whose pixels are the numbers of segments."""
    padding = frames.data.get("PixelPaddingValue")
    known = {number for number, segment in segments.items() if not segment.is_background}
    outside = {0, *(set(segments) - known), *([] if padding is None else [int(padding)])} - known
    layer = stack.layer(0)
    filled: set[int] = set()
    for index, frame in enumerate(frames.read(range(frames.count))):
        values = {int(value) for value in np.unique(frame)}
        if values - known - outside:
            raise unreadable(
                frames.path, f"{len(values - known - outside)} values of no segment", DICOM_SEG
            )
        if not values & known:
            continue
        labels = np.where(np.isin(frame, sorted(values & known)), frame, 0)
        image, turned = placement.put(index, labels)
        if image in filled:
            raise unreadable(frames.path, "two frames of a label map in one place", DICOM_SEG)
        filled.add(image)
        layer[image] = turned
    for number in sorted(known):
        stack.name(segments[number].name, number, 0)


def _frames(path: Path, data: Any) -> _Frames:  # Any: pydicom
    """Check the stated sizes against each other and against the file."""
    rows, columns = int(data.Rows), int(data.Columns)
    bits, count = int(data.BitsAllocated), int(data.get("NumberOfFrames") or 1)
    kind = str(data.get("SegmentationType"))
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP") or bits not in (1, 8, 16):
        raise unreadable(path, f"another type, {bits} bits", "BINARY, FRACTIONAL or LABELMAP")
    if data.get("TotalPixelMatrixColumns") is not None or int(data.get("SamplesPerPixel") or 1) > 1:
        raise unreadable(path, "tiles of a whole slide image, or colours", DICOM_SEG)
    check_declared_size(path, (rows, columns), 1)
    needed = -(-count * rows * columns * bits // 8)
    check_declared_size(path, (needed,), 1)
    pixels = data.get("PixelData")
    stored = 0 if pixels is None else len(pixels)
    if stored < needed and not data.file_meta.TransferSyntaxUID.is_compressed:
        raise unreadable(path, f"{stored} bytes of pixels", f"{needed} bytes by its header")
    return _Frames(path=path, data=data, kind=kind, count=count, size=(rows, columns))


def _sources(data: Any) -> Iterator[Any]:  # Any: pydicom
    """Return the items that name the images of frames."""
    for sequence in _GROUPS:
        for group in items(data, sequence):
            for derivation in items(group, "DerivationImageSequence"):
                yield from items(derivation, "SourceImageSequence")


def _check_class(path: Path, data: Any) -> None:  # Any: pydicom
    if str(data.get("SOPClassUID")) not in SEG_CLASSES and data.get("Modality") != "SEG":
        raise unreadable(path, "a DICOM file of another kind", DICOM_SEG)


def _check_frame_of_reference(path: Path, data: Any, series: DicomSeries) -> None:
    own = key_of(data.get("FrameOfReferenceUID"))
    expected = series.keys.frame_of_reference
    if own and expected and own != expected:
        raise DatasetError(
            "the segmentation and the images have different frames of reference",
            where=path,
            found=f"another frame of reference than {series.paths[0].name}",
            expected="positions that refer to the same point of the patient",
            fix="choose the segmentation of this series with data.labels, or resample it",
        )
