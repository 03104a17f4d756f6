"""DICOM made to fill the memory, to hang or to lie: an error of ours for each, and quickly."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write_series
from dicom_objects import segment, write_multiframe, write_rtstruct, write_seg
from hostile_files import make_special, refused_by
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from samft.data.readers.dicom import find_series, read_series
from samft.data.readers.dicom_seg import probe_dicom_seg, read_dicom_seg
from samft.data.readers.rtstruct import probe_rtstruct, read_rtstruct
from samft.errors import DatasetError

pytestmark = pytest.mark.usefixtures("small_limit", "no_hang")

DEEP = 1000
PIXELS = np.arange(80, dtype=np.int16).reshape(8, 10)
SQUARE = np.array([[-29.0, 13, 50], [-28, 13, 50], [-28, 15, 50]])


SPECIAL = ["pipe", "device", "folder", "ring", "gone"]


def ct(folder: Path, **changes: object) -> Path:
    return write_series(folder, PIXELS[None], **changes)[0]


def read_all(path: Path) -> None:
    """Read what a file holds; a failure of the search is raised."""
    found = find_series([path])
    for series in found.series:
        read_series(series)
    if found.failures:
        raise found.failures[0][1]


@pytest.mark.parametrize("eighth", range(8))
def test_dicom_cut_off_at_every_eighth(tmp_path: Path, eighth: int) -> None:
    path = ct(tmp_path)
    data = path.read_bytes()
    read_all(path)
    path.write_bytes(data[: len(data) * eighth // 8])
    refused_by(read_all, path, kind=DatasetError)


ELEMENTS: dict[str, dict[str, object]] = {
    "far more rows": {"Rows": 65_535, "Columns": 65_535},
    "a row more": {"Rows": 9},
    "no rows": {"Rows": 0},
    "samples without end": {"SamplesPerPixel": 65_535},
    "frames without end": {"NumberOfFrames": 2**31 - 1},
    "frames of which there are fewer": {"NumberOfFrames": 100},
    "negative frames": {"NumberOfFrames": -3},
    "no bits": {"BitsAllocated": 0},
    "bits without end": {"BitsAllocated": 65_528},
    "bits of no byte": {"BitsAllocated": 12},
    "spacing of nothing": {"PixelSpacing": [0, 0]},
    "directions of nothing": {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
    "one direction twice": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    "ink": {"PhotometricInterpretation": "CMYK"},
    "no pixels": {"PixelData": None},
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_dicom_that_lies(tmp_path: Path, name: str) -> None:
    path = ct(tmp_path, **ELEMENTS[name])
    refused_by(read_all, path, kind=DatasetError)


def packed(path: Path, syntax: str, frame: bytes) -> Path:
    """Replace the pixels of a file by a frame that is said to be packed."""
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    data["PixelData"].VR = "OB"
    data.save_as(path)
    return path


def rle(*segments: bytes) -> bytes:
    starts = [64 + sum(map(len, segments[:n])) for n in range(len(segments))]
    return struct.pack("<16I", len(segments), *starts, *[0] * (15 - len(starts))) + b"".join(
        segments
    )


FRAMES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "RLE that grows a hundred times": (RLELossless, lambda: rle(*[b"\x81\0" * 500_000] * 2)),
    "RLE without data": (RLELossless, lambda: rle(b"", b"")),
    "RLE of too few planes": (RLELossless, lambda: rle(b"\x81\0")),
    "RLE of planes without end": (RLELossless, lambda: b"\xff" * 64),
    "RLE whose planes lie elsewhere": (RLELossless, lambda: struct.pack("<16I", 2, *[2**31] * 15)),
    "JPEG 2000 of 2^31 pixels": (JPEG2000Lossless, lambda: jpeg_2000(2**31 - 1)),
    "JPEG 2000 of another size": (JPEG2000Lossless, lambda: jpeg_2000(3000)),
    "JPEG 2000 that is none": (JPEG2000Lossless, lambda: bytes(100)),
}


def jpeg_2000(side: int) -> bytes:
    """Return the start of a codestream: its marker, and a size with one component."""
    tile = struct.pack(">8I", side, side, 0, 0, side, side, 0, 0)
    size = struct.pack(">HH", 41, 0) + tile + struct.pack(">H3B", 1, 15, 1, 1)
    return b"\xff\x4f\xff\x51" + size + b"\xff\x52\0\x0c\0\0\0\1\0\0\4\4\0\1" + b"\xff\xd9"


@pytest.mark.parametrize("name", FRAMES)
def test_packed_dicom_that_lies(tmp_path: Path, name: str) -> None:
    syntax, frame = FRAMES[name]
    refused_by(read_all, packed(ct(tmp_path), syntax, frame()), kind=DatasetError)


def test_dicom_that_unpacks_to_far_more(tmp_path: Path) -> None:
    path = ct(tmp_path)
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(path)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")  # behind the group of the file itself
    packer = zlib.compressobj(9, wbits=-15)
    body = b"".join(packer.compress(bytes(2**20)) for _ in range(48)) + packer.flush()
    path.write_bytes(whole[:start] + body)
    assert path.stat().st_size < 2**20
    refused_by(read_all, path, "more data than is allowed", kind=DatasetError)


@pytest.mark.parametrize("how", ["of no length", "of their length"])
@pytest.mark.parametrize("depth", [DEEP, 20_000])
def test_sequences_in_sequences(tmp_path: Path, how: str, depth: int) -> None:
    tag = struct.pack("<HH", 0x0040, 0xA730)  # Content Sequence
    open_length = b"\xff\xff\xff\xff"
    if how == "of no length":
        opening = tag + b"SQ\0\0" + open_length + b"\xfe\xff\x00\xe0" + open_length
        nested = opening * depth
    else:
        nested = b""
        for _ in range(min(depth, 3000)):
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(nested)) + nested
            nested = tag + b"SQ\0\0" + struct.pack("<I", len(item)) + item
    path = ct(tmp_path)
    data = path.read_bytes()
    place = data.index(struct.pack("<HH", 0x7FE0, 0x0010))
    for content in (data[:place] + nested + data[place:], data[: 132 + 12] + nested):
        path.write_bytes(content)
        for read in (read_all, probe_dicom_seg, probe_rtstruct):
            try:
                read(path)
            except DatasetError as error:
                assert str(path) in str(error)
                assert len(str(error).splitlines()) <= 3


@pytest.mark.parametrize("length", [2**31, 2**32 - 2])
def test_an_element_of_all_memory(tmp_path: Path, length: int) -> None:
    path = ct(tmp_path)
    data = path.read_bytes()
    place = data.index(struct.pack("<HH", 0x7FE0, 0x0010)) + 8
    whole = read_series(find_series([path]).series[0])
    path.write_bytes(data[:place] + struct.pack("<I", length) + data[place + 4 :])
    # As the pixels are all there, nothing is lost by it.
    assert np.array_equal(read_series(find_series([path]).series[0]), whole)
    path.write_bytes(data[:place] + struct.pack("<I", length) + data[place + 4 : -2])
    refused_by(read_all, path, kind=DatasetError)
    path.write_bytes(data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :])  # without a length
    refused_by(read_all, path, kind=DatasetError)


@pytest.fixture
def objects(tmp_path: Path) -> tuple[Path, Path, object]:
    """A segmentation, a structure set, and the series they belong to."""
    images = write_series(tmp_path / "ct")
    mask = np.zeros((20, 26), np.uint8)
    mask[3:9, 4:12] = 1
    seg = write_seg(tmp_path / "seg.dcm", images, [(1, 0, mask)], [segment(1, "heart")])
    contours = [("CLOSED_PLANAR", 0, SQUARE)]
    structures = write_rtstruct(tmp_path / "rt.dcm", images, [("heart", contours)])
    return seg, structures, find_series(images).series[0]


@pytest.mark.parametrize("eighth", range(8))
def test_labels_in_dicom_cut_off(objects, eighth: int) -> None:
    seg, structures, series = objects
    read_dicom_seg(seg, series)
    read_rtstruct(structures, series)
    for path, read in ((seg, read_dicom_seg), (structures, read_rtstruct)):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * eighth // 8])
        refused_by(lambda one, read=read: read(one, series), path, kind=DatasetError)


@pytest.mark.parametrize("bad", ["nan", "inf", "1e999", "x", "1\\2"])
def test_contours_of_no_place(objects, bad: str) -> None:
    _, path, series = objects
    data = pydicom.dcmread(path)
    numbers = data.ROIContourSequence[0].ContourSequence[0]
    numbers.add_new("ContourData", "LO", f"{bad}\\0\\50\\1\\2\\3")
    data.save_as(path)
    refused_by(lambda one: read_rtstruct(one, series), path, kind=DatasetError)


@pytest.mark.parametrize("segments", [65_535, 70_000])
def test_a_segmentation_of_segments_without_end(objects, segments: int) -> None:
    path, _, series = objects
    data = pydicom.dcmread(path)
    item = Dataset()
    item.add_new("SegmentNumber", "UL", segments)
    item.SegmentLabel = "x"
    data.SegmentSequence = [item]
    data.save_as(path)
    refused_by(lambda one: read_dicom_seg(one, series), path, kind=DatasetError)


def test_frames_that_lie(tmp_path: Path) -> None:
    images = write_series(tmp_path / "ct")
    path = write_multiframe(tmp_path / "a.dcm", images, NumberOfFrames=4)
    refused_by(read_all, path, "described", kind=DatasetError)
    data = pydicom.dcmread(write_multiframe(tmp_path / "b.dcm", images))
    data.PerFrameFunctionalGroupsSequence[1] = data.PerFrameFunctionalGroupsSequence[0]
    data.save_as(tmp_path / "b.dcm")
    refused_by(read_all, tmp_path / "b.dcm", "same place", kind=DatasetError)


@pytest.mark.parametrize("what", SPECIAL)
def test_dicom_that_is_no_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.dcm"
    make_special(path, what)
    found = find_series([path])
    assert not found.series
    assert str(path) in str(found.failures[0][1])
    for read in (probe_dicom_seg, probe_rtstruct):
        refused_by(read, path, kind=DatasetError)
