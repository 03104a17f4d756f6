"""Volumes made to fill the memory, to hang or to lie: an error of ours for each, and quickly."""

from __future__ import annotations

import gzip
import io
import os
import signal
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import nrrd
import numcodecs
import numpy as np
import pydicom
import pytest
import zarr
from dicom_files import write_series
from dicom_objects import segment, write_multiframe, write_rtstruct, write_seg
from hostile_files import refused_by
from ome_zarr_files import write_image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from samft.data.readers.dicom import find_series, read_series
from samft.data.readers.dicom_seg import probe_dicom_seg, read_dicom_seg
from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.readers.rtstruct import probe_rtstruct, read_rtstruct
from samft.data.readers.volumes import probe_volume, read_volume
from samft.errors import DatasetError

LIMIT = 16 * 2**20
SHAPE = (6, 7, 8)
VALUES = (np.arange(6 * 7 * 8) % 5).astype(np.uint8).reshape(SHAPE)
BAD = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e300]
DEEP = 1000
PIXELS = np.arange(80, dtype=np.int16).reshape(8, 10)
SQUARE = np.array([[-29.0, 13, 50], [-28, 13, 50], [-28, 15, 50]])


class Hang(BaseException):
    """No reader catches it."""


@pytest.fixture(autouse=True)
def no_hang(monkeypatch):
    def stop(*_):
        raise Hang

    monkeypatch.setenv("SAMFT_MAX_BYTES", str(LIMIT))
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def both(path: Path) -> None:
    probe_volume(path)
    read_volume(path)


def nifti(*, name: str = "a.nii", **fields: object) -> bytes:
    """Return a NIfTI of which some fields of the header are set to what they should not be."""
    image = nibabel.Nifti1Image(VALUES, np.diag([1.0, 2.0, 3.0, 1.0]))
    header = image.header.copy()
    header["vox_offset"], header["magic"] = 352, b"n+1"
    for field, value in fields.items():
        header[field] = value
    data = header.structarr.tobytes() + bytes(4) + VALUES.tobytes(order="F")
    return gzip.compress(data, 1) if name.endswith(".gz") else data


def nrrd_file(packing: str = "raw", **fields: object) -> bytes:
    """Return an NRRD of which some lines of the header are replaced, or added; `None` removes."""
    buffer = io.BytesIO()
    header = {"encoding": packing, "space": "left-posterior-superior",
              "space directions": np.diag([1.0, 2.0, 3.0]), "space origin": [0.0] * 3}  # fmt: skip
    nrrd.write(buffer, VALUES, header)
    lines, body = buffer.getvalue().split(b"\n\n", 1)
    kept = dict(line.split(b": ", 1) for line in lines.split(b"\n") if b": " in line)
    for field, value in fields.items():
        kept[field.replace("_", " ").encode()] = str(value).encode()
    head = b"\n".join([b"NRRD0004", *(name + b": " + value for name, value in kept.items())])
    return head + b"\n\n" + body


FILES = {
    "a.nii": nifti,
    "a.nii.gz": lambda: nifti(name="a.nii.gz"),
    "raw.nrrd": nrrd_file,
    "gzip.nrrd": lambda: nrrd_file("gzip"),
    "bzip2.nrrd": lambda: nrrd_file("bzip2"),
}


@pytest.mark.parametrize("eighth", range(8))
@pytest.mark.parametrize("name", FILES)
def test_cut_off_at_every_eighth(tmp_path: Path, name: str, eighth: int) -> None:
    path, data = tmp_path / name, FILES[name]()
    path.write_bytes(data)
    both(path)
    path.write_bytes(data[: len(data) * eighth // 8])
    refused_by(both, path, kind=DatasetError)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"\0" * 2000, b"\xff" * 2000, b"\x1f\x8b\x08" + b"\0" * 50])
def test_something_else(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused_by(both, path, kind=DatasetError)


def special(path: Path, what: str) -> None:
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "ring":
        path.symlink_to(path)


SPECIAL = ["pipe", "device", "folder", "ring", "gone"]


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd"])
def test_what_is_no_file(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / name
    special(path, what)
    for read in (probe_volume, read_volume):
        refused_by(read, path, kind=DatasetError)


@pytest.mark.parametrize("what", SPECIAL)
def test_dicom_that_is_no_file(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.dcm"
    special(path, what)
    found = find_series([path])
    assert not found.series
    assert str(path) in str(found.failures[0][1])
    for read in (probe_dicom_seg, probe_rtstruct):
        refused_by(read, path, kind=DatasetError)


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "ring"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_chunk_that_is_no_file(tmp_path: Path, version: str, what: str) -> None:
    path = write_image(tmp_path / "a.zarr", VALUES.astype(np.uint16), "zyx", version=version)
    chunk = path / "0" / ("1/0/0" if version == "0.4" else "c/1/0/0")
    chunk.unlink()
    special(chunk, what)
    image = OmeZarrImage(path)
    image.plane(0)
    with pytest.raises(DatasetError) as caught:
        image.plane(1)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("sform", [True, False])
def test_nifti_of_no_spacing(tmp_path: Path, sform: bool, bad: float) -> None:
    path = tmp_path / "a.nii"
    if sform:
        data = nifti(srow_x=[bad, 0, 0, 0], sform_code=1)
    else:
        data = nifti(pixdim=[1, bad, 2, 3, 1, 1, 1, 1], sform_code=0, qform_code=0)
    path.write_bytes(data)
    if sform or bad != 0:  # nibabel takes a side of 0 for 1
        refused_by(both, path, kind=DatasetError)
    else:
        assert min(read_volume(path).spacing_mm) > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3e38])
def test_nifti_that_lies_nowhere(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(srow_x=[1, 0, 0, bad], sform_code=1))
    if bad < float("inf"):
        both(path)  # far away, which is no harm
    else:
        refused_by(both, path, kind=DatasetError)


DIMS = {
    "more than there is": [3, 6, 7, 9, 1, 1, 1, 1],
    "far more": [3, 32_767, 32_767, 32_767, 1, 1, 1, 1],
    "far more points in time": [4, 6, 7, 8, 32_767, 1, 1, 1],
    "negative": [3, -6, 7, 8, 1, 1, 1, 1],
    "twice negative": [3, -6, -7, 8, 1, 1, 1, 1],
    "none": [3, 0, 7, 8, 1, 1, 1, 1],
    "no axes": [0, 6, 7, 8, 1, 1, 1, 1],
    "axes for ever": [32_767, 6, 7, 8, 1, 1, 1, 1],
    "negative axes": [-1, 6, 7, 8, 1, 1, 1, 1],
    "seven axes": [7, 1, 1, 1, 1, 1, 1, 336],
}


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dims", DIMS)
def test_nifti_that_lies_about_its_size(tmp_path: Path, dims: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(nifti(name=name, dim=DIMS[dims]))
    refused_by(both, path, kind=DatasetError)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("offset", [-1.0, 1e30, float("nan"), float("inf"), 2.0**31])
def test_nifti_whose_data_begins_nowhere(tmp_path: Path, offset: float, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(nifti(name=name, vox_offset=offset))
    refused_by(both, path, kind=DatasetError)


@pytest.mark.parametrize("kind", [0, 1, 32, 128, 1536, 1792, 2304, 32_767])
def test_nifti_of_other_values(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(datatype=kind))
    refused_by(both, path, kind=DatasetError)


@pytest.mark.parametrize("name", ["a.nii.gz", "gzip.nrrd", "bzip2.nrrd"])
def test_small_files_that_unpack_to_far_more(tmp_path: Path, name: str) -> None:
    """What comes behind the data that the header states is not unpacked."""
    path, far_more = tmp_path / name, bytes(2**20)
    buffer = io.BytesIO()
    if name == "a.nii.gz":
        with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
            file.write(nifti())
            for _ in range(48):
                file.write(far_more)
        path.write_bytes(buffer.getvalue())
        before = path.stat().st_size
        assert read_volume(path).array.shape == (1, 8, 7, 6)
        assert before < 2 * 2**20
        return
    head = nrrd_file(name.split(".", maxsplit=1)[0], sizes="6 7 900")
    start = head.index(b"\n\n") + 2
    packer = zlib.compressobj(9, wbits=31)
    body = b"".join(packer.compress(far_more) for _ in range(48)) + packer.flush()
    path.write_bytes(head[:start] + body)
    if name == "gzip.nrrd":
        assert read_volume(path).array.shape == (1, 900, 7, 6)
    else:  # gzip where bzip2 should be
        refused_by(both, path, kind=DatasetError)


def test_a_header_behind_a_gigabyte(tmp_path: Path) -> None:
    """An NRRD without an end to its header, and one of which a line is all there is."""
    path = tmp_path / "a.nrrd"
    path.write_bytes(b"NRRD0004\n" + b"# note\n" * 100_000)
    refused_by(both, path, kind=DatasetError)
    path.write_bytes(b"NRRD0004\ntype: uint8\nsizes: " + b"1 " * 200_000 + b"\n\n")
    refused_by(both, path, kind=DatasetError)


@pytest.mark.parametrize(
    "name", ["../../secret.raw", "/etc/passwd", "LIST", "a%d.raw 1 9 1", "secret.raw", "http://x/y"]
)
@pytest.mark.parametrize("field", ["data_file", "datafile"])
def test_nrrd_whose_data_lies_elsewhere(tmp_path: Path, field: str, name: str) -> None:
    (tmp_path / "secret.raw").write_bytes(VALUES.tobytes())
    path = tmp_path / "in" / "a.nrrd"
    path.parent.mkdir()
    path.write_bytes(nrrd_file(**{field: name}))
    error = refused_by(both, path, kind=DatasetError)
    assert "another file" in str(error)


LINES = {
    "negative sizes": {"sizes": "-6 7 8"},
    "no sizes": {"sizes": ""},
    "more than there is": {"sizes": "6 7 9"},
    "far more": {"sizes": "4000000000 4000000000 4000000000"},
    "words for sizes": {"sizes": "six seven eight"},
    "a dimension that is another": {"dimension": "16"},
    "a negative dimension": {"dimension": "-3"},
    "steps of nan": {"space_directions": "(nan,0,0) (0,1,0) (0,0,1)"},
    "steps of infinity": {"space_directions": "(inf,0,0) (0,1,0) (0,0,1)"},
    "steps of nothing": {"space_directions": "(0,0,0) (0,1,0) (0,0,1)"},
    "steps that are one": {"space_directions": "(1,0,0) (1,0,0) (0,0,1)"},
    "steps of two numbers": {"space_directions": "(1,0) (0,1) (0,0)"},
    "an origin of infinity": {"space_origin": "(inf,0,0)"},
    "an origin of two numbers": {"space_origin": "(1,2)"},
    "an encoding nobody knows": {"encoding": "pickle"},
    "ascii that is none": {"encoding": "ascii"},
    "a type nobody knows": {"type": "complex"},
    "blocks": {"type": "block", "block_size": "999999999"},
    "a segment of no number": {"Segment0_Name": "x", "Segment0_LabelValue": "one"},
}


@pytest.mark.parametrize("name", LINES)
def test_nrrd_that_lies(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.seg.nrrd"
    fields = LINES[name]
    data = nrrd_file(**{k: v for k, v in fields.items() if not k.startswith("Segment")})
    named = b"".join(f"{k}:={v}\n".encode() for k, v in fields.items() if k.startswith("Segment"))
    start = data.index(b"\n") + 1
    path.write_bytes(data[:start] + named + data[start:])
    refused_by(both, path, kind=DatasetError)


# --- DICOM ---------------------------------------------------------------------------------------


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


# --- zarr ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_many_chunks_that_unpack_to_far_more(tmp_path: Path, codec: str) -> None:
    """Every chunk of version 3 by itself: the first that lies is the last that is looked at."""
    maker = {"gzip": zarr.codecs.GzipCodec, "zstd": zarr.codecs.ZstdCodec}[codec]
    stored = zarr.create_array(
        store=str(tmp_path / "a"), shape=(64, 64), chunks=(16, 16), dtype="uint8",
        compressors=maker(),
    )  # fmt: skip
    stored[...] = 1
    bomb = bytes(numcodecs.get_codec({"id": codec}).encode(np.zeros(32 * 2**20, np.uint8)))
    chunks = [path for path in (tmp_path / "a" / "c").rglob("*") if path.is_file()]
    assert len(chunks) == 16
    for path in chunks:
        path.write_bytes(bomb)
    refused_by(
        lambda one: OmeZarrImage(one).plane(0), tmp_path / "a", "unpacked", kind=DatasetError
    )
