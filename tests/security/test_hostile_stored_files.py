"""Zip archives, arrays and tables that lie about what is in them."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from hostile_files import KEY, Call, archive, pickled, rebuild, refused, refused_by
from PIL import Image

from samft.data.index_cache import load_arrays, store_arrays
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.hf_dataset import HfDatasetLayout
from samft.data.readers.hf_dataset import open_rows
from samft.embeddings.index import IndexRecord
from samft.embeddings.key import EntryKey
from samft.embeddings.shard import Shard
from samft.errors import CheckpointError, DatasetError, MachineError
from samft.inference.array_sources import open_array
from samft.inference.work_folder import WorkFolder
from samft.models.legacy_file import read_legacy_file

# --- zip archives of weights ---------------------------------------------------------------------

CENTRAL, LOCAL, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def good(path):
    return archive(path, pickled({KEY: rebuild()}))


def changed(path, sign, field, form, value, *, last=False):
    """Write a number into a header of an archive; `field` is its place there."""
    data = bytearray(good(path).read_bytes())
    place = data.rindex(sign) if last else data.index(sign)
    struct.pack_into(form, data, place + field, value)
    path.write_bytes(data)
    return path


LIES = {
    "size of the first member, 4 GB": (CENTRAL, 24, "<I", 2**32 - 2),
    "size of the first member, zip64": (CENTRAL, 24, "<I", 2**32 - 1),
    "place of the first member": (CENTRAL, 42, "<I", 10**6),
    "kind of packing": (CENTRAL, 10, "<H", 8),
    "unknown kind of packing": (CENTRAL, 10, "<H", 99),
    "length of a name": (CENTRAL, 28, "<H", 60_000),
    "length of an extra field": (CENTRAL, 30, "<H", 60_000),
    "start of the list": (END, 16, "<I", 2**31),
    "size of the list": (END, 12, "<I", 2**31),
    "another disk": (END, 4, "<H", 7),
    "length of the local name": (LOCAL, 26, "<H", 60_000),
}


@pytest.mark.parametrize("form", LIES)
@pytest.mark.parametrize("reader", ["weights", "legacy"])
def test_numbers_of_an_archive_that_lie(tmp_path, form, reader):
    path = changed(tmp_path / "w.pth", *LIES[form])
    if form == "another disk":  # which neither zipfile nor torch cares for
        assert KEY in str(read_legacy_file(path).content)
    elif reader == "weights":
        refused(path, str(path))
    else:
        refused_by(read_legacy_file, path, kind=CheckpointError)


def test_a_member_that_lies_beyond_the_end(tmp_path):
    path = changed(tmp_path / "w.pth", CENTRAL, 42, "<I", 10**6, last=True)
    refused_by(read_legacy_file, path, kind=CheckpointError)


NAMES = [
    "../data.pkl",
    "/archive/data.pkl",
    "archive/../../x",
    "archive\\data.pkl",
    "C:/data.pkl",
    "archive/data/../../../x",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_out_of_an_archive(tmp_path, name):
    """Members are read by place and never unpacked; other folders than one are refused."""
    folder = tmp_path / "weights"
    folder.mkdir()
    path = archive(folder / "w.pth", pickled({KEY: rebuild()}), extra=[(name, b"escaped")])
    before = sorted(tmp_path.rglob("*"))
    try:
        read_legacy_file(path)
    except CheckpointError as error:
        assert str(path) in str(error)
    if not name.startswith("archive/"):
        refused(path, "not one written by torch.save")
    assert sorted(tmp_path.rglob("*")) == before


def test_members_that_overlap(tmp_path):
    """A few bytes, listed under thousands of names, unpack to gigabytes in other programs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickled({KEY: rebuild()}))
        file.writestr("archive/data/0", bytes(2**16))
        first = file.infolist()[1]
        for number in range(1, 2000):
            member = zipfile.ZipInfo(f"archive/data/{number}")
            member.file_size = member.compress_size = first.file_size
            member.CRC, member.header_offset = first.CRC, first.header_offset
            file.filelist.append(member)
            file.NameToInfo[member.filename] = member
        file._didModify = True
    path = tmp_path / "w.pth"
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 2**20
    refused(path, "not an archive as torch.save writes it", "bytes unpacked")


def test_an_archive_with_a_member_that_is_one_again(tmp_path):
    inner = good(tmp_path / "inner.pth").read_bytes()
    refused(archive(tmp_path / "w.pth", inner), str(tmp_path / "w.pth"))


def test_encrypted_members(tmp_path):
    data = bytearray(good(tmp_path / "w.pth").read_bytes())
    for sign, field in ((LOCAL, 6), (CENTRAL, 8)):
        data[data.index(sign) + field] |= 1
    (tmp_path / "w.pth").write_bytes(data)
    refused(tmp_path / "w.pth", str(tmp_path / "w.pth"))


# --- arrays --------------------------------------------------------------------------------------


def npy(path, shape, *, dtype="'|u1'", body=b"\1" * 64):
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
    return path


ARRAYS = {
    "a thousand gigabytes": ("(1000000, 1000000)", "'|u1'"),
    "beyond 64 bits": (f"({2**62}, {2**62})", "'<f8'"),
    "negative": ("(-1, 8)", "'|u1'"),
    "objects": ("(8, 8)", "'|O'"),
    "texts": ("(2, 2)", "'<U4'"),
    "records": ("(8,)", "[('a', '<i4')]"),
    "times": ("(2, 4)", "'<M8[s]'"),
    "complex": ("(2, 4)", "'<c8'"),
    "no shape": ("'abc'", "'|u1'"),
    "a call": ("__import__('os').getcwd()", "'|u1'"),
    "no type": ("(8, 8)", "'nothing'"),
    "nested": ("(" * 200 + ")" * 200, "'|u1'"),
    "never closed": ("(8, (8", "'|u1'"),
}


@pytest.mark.parametrize("form", ARRAYS)
def test_arrays_that_lie(tmp_path, form):
    shape, dtype = ARRAYS[form]
    refused_by(open_array, npy(tmp_path / "a.npy", shape, dtype=dtype), kind=DatasetError)


def test_arrays_that_are_something_else(tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "a.npy"
    path.write_bytes(pickle.dumps(Call(open, str(canary), "w")))
    refused_by(open_array, path, kind=DatasetError)
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    refused_by(open_array, path, kind=DatasetError)
    assert not canary.exists()


def part(tmp_path, members, *, compression=zipfile.ZIP_STORED):
    folder = tmp_path / "out.npy.partial"
    folder.mkdir()
    with zipfile.ZipFile(folder / "part.npz", "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return WorkFolder(tmp_path / "out.npy", {})


@pytest.mark.parametrize("form", ARRAYS)
def test_finished_parts_that_lie_are_made_again(tmp_path, form):
    if form in ("texts", "records", "times", "complex"):
        pytest.skip("values that numpy reads")
    shape, dtype = ARRAYS[form]
    content = npy(tmp_path / "a.npy", shape, dtype=dtype).read_bytes()
    assert part(tmp_path, {"labels.npy": content}).load("part") is None


def test_an_index_that_was_damaged_is_made_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path))
    arrays = {"a": np.arange(9), "empty": np.zeros((0, 3), np.int8)}
    folder = store_arrays(arrays, {"b": 1})
    assert folder is not None
    for damage in (b"", b"\x93NUMPY", (folder / "a.npy").read_bytes()[:-1] + b"\7"):
        (folder / "a.npy").write_bytes(damage)
        assert store_arrays(arrays, {"b": 1}) == folder
        assert "damaged and is made again" in caplog.text
        found, about = load_arrays(folder)
        assert found["a"].tolist() == list(range(9))
        assert found["empty"].shape == (0, 3)
        assert about == {"b": 1}
        caplog.clear()


@pytest.mark.parametrize("form", ["a thousand gigabytes", "objects", "no shape", "nested"])
def test_an_index_that_lies(tmp_path, form):
    shape, dtype = ARRAYS[form]
    npy(tmp_path / "a.npy", shape, dtype=dtype)
    (tmp_path / "about.json").write_text("{}")
    with pytest.raises(MachineError, match="index of a data set is damaged") as error:
        load_arrays(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "fix: delete this folder" in str(error.value)


# --- stored embeddings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "offset"),
    [
        ((2**63, 2**63), 0),
        ((0, 2**61), 0),
        ((2**33, 2**33, 2**34, 0), 0),
        ((2**50,), 0),
        ((4,), 2**63),
        ((1,), 2**64 - 1),
    ],
)
def test_records_of_embeddings_that_no_disk_holds(tmp_path, shape, offset):
    record = IndexRecord(entry=EntryKey(bytes(32)), offset=offset, shape=shape, crc=0)
    shard = Shard.new(tmp_path)
    shard.data.write_bytes(bytes(4096))
    assert shard.read(record, torch.float16) is None
    shard.forget(record, torch.float16)


# --- tables --------------------------------------------------------------------------------------

PATHS = {
    "parent": "../secret.png",
    "absolute": "/etc/passwd",
    "drive": "C:\\secret.png",
    "parent of Windows": "..\\secret.png",
    "link": "link.png",
    "nul": "a\0.png",
    "long": "a" * 5000 + ".png",
    "folder": "sub",
    "url": "http://127.0.0.1/a.png",
}


@pytest.mark.parametrize("form", PATHS)
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_rows_that_name_files_elsewhere(tmp_path, form, kind):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    rows = arrow.array([{"bytes": None, "path": PATHS[form]}], cell)
    table, path = arrow.table({"image": rows, "mask": rows}), folder / f"a.{kind}"
    if kind == "parquet":
        parquet.write_table(table, path)
    else:
        with arrow.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)

    def read(_):
        layout = HfDatasetLayout(folder, LayoutSettings())
        layout.check(layout.records())

    refused_by(read, path, kind=DatasetError)


@pytest.mark.parametrize("name", [b"image", b"path", b"bytes"])
@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_columns_whose_names_are_no_text(tmp_path, name, kind):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    cell = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    rows = arrow.array([{"bytes": b"x", "path": None}], cell)
    table, sink = arrow.table({"image": rows}), arrow.BufferOutputStream()
    if kind == "parquet":
        parquet.write_table(table, sink, store_schema=False)
    else:
        with arrow.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    content = sink.getvalue().to_pybytes()
    assert name in content
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content.replace(name, b"\x91" + name[1:]))
    refused_by(lambda path: open_rows(path).image_columns(), path, kind=DatasetError)


@pytest.mark.parametrize("name", ["../a.arrow", "/etc/passwd", "C:a.arrow", "", None, 5, ["a"]])
def test_a_list_of_files_that_leads_elsewhere(tmp_path, name):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))

    def read(_):
        HfDatasetLayout(folder, LayoutSettings()).records()

    refused_by(read, folder / "state.json", "is not there", kind=DatasetError)


def test_tensors_are_read_from_a_whole_archive(tmp_path):
    state = torch.load(good(tmp_path / "w.pth"), weights_only=True)
    assert state[KEY].shape == (2, 2)
