"""Volumes made to fill the memory, to hang or to lie: an error of ours for each, and quickly."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import nibabel
import nrrd
import numcodecs
import numpy as np
import pytest
import zarr
from hostile_files import make_special, refused_by
from ome_zarr_files import write_image

from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.readers.volumes import probe_volume, read_volume
from samft.errors import DatasetError

pytestmark = pytest.mark.usefixtures("small_limit", "no_hang")

SHAPE = (6, 7, 8)
VALUES = (np.arange(6 * 7 * 8) % 5).astype(np.uint8).reshape(SHAPE)
BAD = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e300]


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


SPECIAL = ["pipe", "device", "folder", "ring", "gone"]


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd"])
def test_what_is_no_file(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / name
    make_special(path, what)
    for read in (probe_volume, read_volume):
        refused_by(read, path, kind=DatasetError)


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "ring"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_chunk_that_is_no_file(tmp_path: Path, version: str, what: str) -> None:
    path = write_image(tmp_path / "a.zarr", VALUES.astype(np.uint16), "zyx", version=version)
    chunk = path / "0" / ("1/0/0" if version == "0.4" else "c/1/0/0")
    chunk.unlink()
    make_special(chunk, what)
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
