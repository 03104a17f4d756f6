"""Targets: DICOM images, segmentations and structure sets."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from benchmarks.fuzzing.target import Target
from samft.data.preprocessing import Preprocessing
from samft.data.readers.dicom import DicomSeries, find_series
from samft.data.readers.dicom_seg import probe_dicom_seg, read_dicom_seg
from samft.data.readers.rtstruct import probe_rtstruct, read_rtstruct
from samft.data.sources import SeriesSource

_CT, _ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
_SEG, _LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
_STRUCTURES: Final = "1.2.840.10008.5.1.4.1.1.481.3"
_ROWS, _COLUMNS, _IMAGES = 4, 6, 3
_PIXELS: Final = np.arange(_ROWS * _COLUMNS, dtype=np.int16).reshape(_ROWS, _COLUMNS) * 40 - 400
_TEXTS: Final = (b"", b" ", b"0", b"1", b"-1", b"2", b"1e5", b"1e999", b"nan", b"inf", b"9" * 8,
                 b"2147483648", b"1\\0\\0\\0\\1\\0", b"0\\0\\0", b"1\\2\\3\\4", b"\\", b"\0",
                 b"MONOCHROME1", b"RGB", b"YBR_FULL_422", b"PALETTE COLOR", b"SEG", b"BINARY",
                 b"FRACTIONAL", b"LABELMAP", b"RTSTRUCT", b"1.2.840.10008.1.2.4.70", b"\xff\xfe",
                 b"CLOSED_PLANAR", b"1.2.3.102", b"x" * 300, b"ISO_IR 192")  # fmt: skip
_WORDS: Final = (0, 1, 2, 3, 4, 6, 8, 12, 15, 16, 32, 64, 255, 256, 4096, 32_767, 65_535)
_KINDS: Final = (b"US", b"SS", b"UL", b"DS", b"IS", b"CS", b"UI", b"FD", b"AT", b"LO", b"PN", b"ZZ")
_LONG: Final = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"OD", b"OL", b"UC", b"UR"})
_NO_LENGTH: Final = 2**32 - 1


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    others = {"a.dcm": _slices()["a.dcm"]}
    return (
        Target("dicom", "b.dcm", _read_series, _image_seeds, mutate_dicom, around=others),
        Target("dicom_seg", "seg/seg.dcm", _read_seg, _seg_seeds, mutate_dicom, around=_slices()),
        Target("rtstruct", "seg/rt.dcm", _read_rtstruct, _rt_seeds, mutate_dicom, around=_slices()),
    )


def mutate_dicom(data: bytes, seed: int) -> bytes:
    """Change the value, the kind or the place of elements, anywhere among the sequences.

    Sequences whose length is not stated need no other change.
    """
    chance = random.Random(seed)  # noqa: S311  (no secret)
    for _ in range(chance.choice((1, 1, 2, 3))):
        found = _elements(data)
        if not found:
            return data
        place, start, end = chance.choice(found)
        other = chance.choice(found)
        choice = chance.randrange(8)
        if choice == 0:
            data = data[:place] + data[end:]
        elif choice == 1:
            data = data[:place] + data[other[0] : other[2]] + data[place:]
        elif choice == 2:
            data = data[:place] + data[other[0] : other[0] + 4] + data[place + 4 :]
        elif choice == 3:
            data = data[: place + 4] + chance.choice(_KINDS) + data[place + 6 :]
        else:
            value = _value(data[place + 4 : place + 6], chance)
            length = len(value).to_bytes(start - place - 6, "little")
            length = length if start - place == 8 else b"\0\0" + length[:4]
            data = data[: place + 6] + length + value + data[end:]
    return data


def _elements(data: bytes) -> list[tuple[int, int, int]]:
    """Return where elements begin, where their values begin and where these end."""
    found, place = [], 132
    while data[128:132] == b"DICM" and place + 12 <= len(data):
        if data[place : place + 2] == b"\xfe\xff":  # an item begins or ends
            place += 8
            continue
        kind = data[place + 4 : place + 6]
        start = place + (12 if kind in _LONG else 8)
        length = int.from_bytes(data[start - 4 if kind in _LONG else start - 2 : start], "little")
        if length == _NO_LENGTH and kind != b"SQ":  # packed pixels
            break
        end = start + (0 if length == _NO_LENGTH else length)
        found.append((place, start, end))
        place = end
    return found


def _value(kind: bytes, chance: random.Random) -> bytes:
    if kind in (b"US", b"SS", b"OW"):
        return chance.choice(_WORDS).to_bytes(2, "little")
    if kind in (b"UL", b"FD", b"OB", b"UN"):
        return chance.randbytes(chance.choice((0, 2, 4, 8, 48)))
    text = chance.choice(_TEXTS)
    return text + b" " * (len(text) % 2)


def _read_series(path: Path) -> object:
    found = find_series(sorted(path.parent.iterdir()))
    for series in found.series:
        source = SeriesSource("a", series, Preprocessing())
        source.picture(len(source.planes) - 1)
        source.space.to_file_order(np.zeros(source.space.shape, np.uint8))
    if found.failures:
        raise found.failures[0][1]
    return found.series


@cache
def _series_in(folder: Path) -> DicomSeries:
    return find_series(sorted(folder.glob("*.dcm"))).series[0]


def _read_seg(path: Path) -> object:
    probe_dicom_seg(path)
    return read_dicom_seg(path, _series_in(path.parent.parent))


def _read_rtstruct(path: Path) -> object:
    probe_rtstruct(path)
    return read_rtstruct(path, _series_in(path.parent.parent))


def _item(**elements: object) -> Dataset:
    data = Dataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def _new(sop_class: str, modality: str, number: int) -> Dataset:
    data = _item(
        SOPClassUID=sop_class, SOPInstanceUID=f"1.2.3.{number}", Modality=modality, PatientID="p",
        StudyInstanceUID="1.2.3.1", SeriesInstanceUID="1.2.3.2", FrameOfReferenceUID="1.2.3.3",
    )  # fmt: skip
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def _bytes_of(data: Dataset, syntax: str | None = None) -> bytes:
    if syntax is not None:
        data.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    _open(data)
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _open(data: Dataset) -> None:
    """Leave out how long sequences and items are, so that what is in them can be changed."""
    for element in data:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for part in element.value:
                part.is_undefined_length_sequence_item = True
                _open(part)


def _slice(number: int, sop_class: str = _CT) -> Dataset:
    data = _new(sop_class, "CT", 100 + number)
    data.ImagePositionPatient, data.PixelSpacing = [1, 2, 3 + 4 * number], [0.5, 0.75]
    data.ImageOrientationPatient, data.SliceThickness = [1, 0, 0, 0, 1, 0], 4
    data.RescaleSlope, data.RescaleIntercept, data.PixelPaddingValue = 1, -1024, -400
    _set_pixels(data, _PIXELS)
    return data


def _set_pixels(data: Dataset, pixels: np.ndarray, *, bits: int = 0) -> None:
    colours = pixels.ndim > 2 and pixels.shape[-1] == 3
    data.Rows, data.Columns = pixels.shape[-3:-1] if colours else pixels.shape[-2:]
    data.SamplesPerPixel = 3 if colours else 1
    data.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = bits or 8 * pixels.itemsize
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    stored = np.packbits(pixels.reshape(-1), bitorder="little") if bits == 1 else pixels
    data.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)


@cache
def _slices() -> dict[str, bytes]:
    return {f"{name}.dcm": _bytes_of(_slice(number)) for number, name in enumerate("abc")}


def _image_seeds(_: Path) -> Sequence[bytes]:
    seeds = [_bytes_of(_slice(1))]
    seeds += [_bytes_of(_slice(1), syntax)
              for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)]  # fmt: skip
    packed = _slice(1)
    packed.compress(RLELossless, generate_instance_uid=False)
    seeds.append(_bytes_of(packed))
    seeds += [
        _picture(*how) for how in (("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless))
    ]
    radiograph = _slice(1)
    del radiograph.ImagePositionPatient, radiograph.RescaleSlope
    radiograph.PhotometricInterpretation = "MONOCHROME1"
    seeds.append(_bytes_of(radiograph))
    colours = _slice(1)
    del colours.PixelPaddingValue
    _set_pixels(colours, np.arange(72, dtype=np.uint8).reshape(_ROWS, _COLUMNS, 3))
    return [*seeds, _bytes_of(colours), *_multiframes()]


def _picture(kind: str, syntax: str) -> bytes:
    data, buffer = _slice(1), io.BytesIO()
    del data.PixelPaddingValue
    grey = (_PIXELS // 8 + 50).astype(np.uint8)
    _set_pixels(data, grey)
    Image.fromarray(grey).save(buffer, kind)
    data.PixelData = encapsulate([buffer.getvalue()])
    data["PixelData"].VR = "OB"
    return _bytes_of(data, syntax)


def _multiframes() -> Iterator[bytes]:
    """Yield frames that say where they lie, and frames that do not; plain and packed."""
    for placed, syntax in ((True, None), (False, None), (True, RLELossless)):
        data = _slice(5, _ENHANCED_CT)
        data.SeriesInstanceUID = "1.2.3.9"
        data.NumberOfFrames = _IMAGES
        _set_pixels(data, np.stack([_PIXELS] * _IMAGES))
        if placed:
            _describe(data, [{} for _ in range(_IMAGES)])
        if syntax is not None:
            data.compress(syntax, generate_instance_uid=False)
        yield _bytes_of(data)


def _describe(data: Dataset, extra: Sequence[dict[str, object]]) -> None:
    """Say of every frame where it lies, and what else there is to say."""
    measures = _item(PixelSpacing=[0.5, 0.75], SliceThickness=4)
    directions = _item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared = {"PlaneOrientationSequence": [directions], "PixelMeasuresSequence": [measures]}
    data.SharedFunctionalGroupsSequence = [_item(**shared)]
    scale = _item(RescaleSlope=1, RescaleIntercept=-1024)
    data.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[1, 2, 3 + 4 * number])],
            PixelValueTransformationSequence=[scale],
            **more,
        )
        for number, more in enumerate(extra)
    ]


def _seg_seeds(_: Path) -> Sequence[bytes]:
    masks = (np.arange(_IMAGES * _ROWS * _COLUMNS) % 5 == 0).astype(np.uint8)
    masks = masks.reshape(_IMAGES, _ROWS, _COLUMNS)
    wide = masks.astype(np.uint16)
    plain = [("BINARY", masks, 1), ("FRACTIONAL", masks * 200, 0), ("LABELMAP", masks, 0),
             ("LABELMAP", wide, 0)]  # fmt: skip
    seeds = [_bytes_of(_segmentation(*how)) for how in plain]
    packed = _segmentation("LABELMAP", wide, 0)
    packed.compress(RLELossless, generate_instance_uid=False)
    return [*seeds, _bytes_of(packed)]


def _segmentation(kind: str, frames: np.ndarray, bits: int) -> Dataset:
    data = _new(_LABEL_MAP if kind == "LABELMAP" else _SEG, "SEG", 200)
    code = _item(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning="Organ")
    segment = _item(SegmentNumber=1, SegmentLabel="cat", SegmentedPropertyTypeCodeSequence=[code])
    data.SegmentationType, data.SegmentSequence = kind, [segment]
    data.NumberOfFrames, data.MaximumFractionalValue = len(frames), 255
    sources = [_item(ReferencedSOPInstanceUID=f"1.2.3.{100 + n}") for n in range(_IMAGES)]
    _describe(data, [
        {"SegmentIdentificationSequence": [_item(ReferencedSegmentNumber=1)],
         "DerivationImageSequence": [_item(SourceImageSequence=[source])]} for source in sources
    ])  # fmt: skip
    data.ReferencedSeriesSequence = [
        _item(SeriesInstanceUID="1.2.3.2", ReferencedInstanceSequence=sources)
    ]
    _set_pixels(data, frames, bits=bits)
    return data


def _rt_seeds(_: Path) -> Sequence[bytes]:
    square = "1\\2\\{0}\\3\\2\\{0}\\3\\3.6\\{0}\\1\\3.6\\{0}"
    contours = [
        _item(
            ContourGeometricType=kind, NumberOfContourPoints=4,
            ContourData=square.format(3 + 4 * image).split("\\"),
            ContourImageSequence=[_item(ReferencedSOPInstanceUID=f"1.2.3.{100 + image}")],
        )
        for image, kind in enumerate(("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "POINT"))
    ]  # fmt: skip
    data = _new(_STRUCTURES, "RTSTRUCT", 300)
    data.StructureSetROISequence = [_item(ROINumber=7, ROIName="heart")]
    data.ROIContourSequence = [_item(ReferencedROINumber=7, ContourSequence=contours)]
    series = _item(SeriesInstanceUID="1.2.3.2")
    study = _item(RTReferencedSeriesSequence=[series])
    data.ReferencedFrameOfReferenceSequence = [_item(RTReferencedStudySequence=[study])]
    return [_bytes_of(data), _bytes_of(data, ImplicitVRLittleEndian)]
