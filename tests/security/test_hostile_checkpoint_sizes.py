"""Weights files made to fill the memory, read other files, or break the reader."""

import json
import struct
import zipfile

import pytest
import torch
from hostile_files import KEY, Call, Storage, archive, pickled, rebuild, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from samft.errors import CheckpointError
from samft.models import torch_file
from samft.models.checkpoint import read_state_dict

# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        Call(bytearray, 3 * 10**9),
        Call(torch.Tensor, 10**5, 10**4),
        Call(torch.UntypedStorage, 3 * 10**9),
        Call(range, 10**12),
    ],
    ids=["bytearray", "Tensor", "UntypedStorage", "range"],
)
def test_small_files_that_ask_for_gigabytes(tmp_path, content):
    refused(archive(tmp_path / "w.pth", pickled({KEY: content})), "tensors and plain data")


def test_archive_that_unpacks_to_gigabytes(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("archive/data.pkl", "w") as member:
            member.write(pickled({KEY: 1}))
        with file.open("archive/data/0", "w", force_zip64=True) as member:
            for _ in range(100):
                member.write(bytes(2**20))
    assert path.stat().st_size < 2**18
    refused(path, "2 compressed members", "not an archive as torch.save writes it")


def test_members_that_claim_to_be_larger_than_the_file(tmp_path):
    path = archive(tmp_path / "w.pth", pickled({KEY: rebuild()}))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"archive/data/0"))
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(data)
    refused(path, f"at most {len(data)} bytes")


COPIES = {
    "sets": (b"c__builtin__\nset\n", b"\x85R"),
    "counters": (b"ccollections\nCounter\n", b"\x85R"),
    "sizes": (b"ctorch\nSize\n", b"\x85R"),
    "attributes": (b"ccollections\nOrderedDict\n)R", b"b"),
}


@pytest.mark.parametrize("form", COPIES)
def test_copies_of_copies(tmp_path, form):
    """A list of a few kilobytes, and thousands of orders to copy it: 1.5 GB, were it done."""
    begin, end = COPIES[form]
    numbers = b"".join(b"M" + number.to_bytes(2, "little") for number in range(8000))
    text = [b"X\x04\0\0\0%04dN" % number for number in range(2000)]
    shared = b"}q\0(" + b"".join(text) + b"u" if form == "attributes" else b"]q\0(" + numbers + b"e"
    path = archive(
        tmp_path / "w.pth", b"\x80\x02](" + shared + (begin + b"h\0" + end) * 3000 + b"e."
    )
    assert path.stat().st_size < 2**18
    refused(path, "the same objects are copied again and again")


def test_pickle_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_file, "MAX_HEADER_BYTES", 1000)
    path = archive(tmp_path / "w.pth", pickled({KEY: "x" * 2000}))
    refused(path, "far more than a SAM", "at most 1000 bytes")


def test_a_million_keys(tmp_path):
    path = archive(tmp_path / "w.pth", pickled({f"image_encoder.{i}": None for i in range(10**6)}))
    refused(path, "far more than a SAM")


def test_more_entries_than_any_sam(tmp_path):
    path = archive(tmp_path / "w.pth", pickled({f"image_encoder.{i}": 0 for i in range(30_000)}))
    refused(path, "30000 entries", "at most 20000")


@pytest.mark.parametrize(
    "tensor",
    [
        rebuild(size=(10**6, 10**6), stride=(0, 0)),
        rebuild(size=(10**5, 10**4), stride=(10**4, 1)),
        rebuild(size=(2**40, 2**40), stride=(2**40, 1)),
        rebuild(size=(-1, 2)),
        rebuild(size=(2, 2), stride=(-2, 1)),
        rebuild(offset=-5),
        rebuild(offset=10**12),
        rebuild(storage=Storage(name="7")),
        rebuild(storage=Storage(name="../../../../etc/passwd")),
        rebuild(storage=Storage(count=-4)),
        rebuild(storage=Storage(count=10**12), size=(10**12,), stride=(1,)),
        rebuild(size="ab"),
        rebuild(size=({}, [])),
    ],
)
def test_tensors_of_impossible_shape(tmp_path, tensor):
    refused(archive(tmp_path / "w.pth", pickled({KEY: tensor})))


def test_nested_too_deeply(tmp_path):
    path = archive(tmp_path / "w.pth", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    refused(path, str(path))


# --- safetensors ---------------------------------------------------------------------------------


def tensors_file(path, header, body=b"", *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def described(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


BAD_HEADERS = {
    "overlapping": ({KEY: described([2], [0, 8]), "b": described([2], [4, 12])}, 12),
    "beyond the end": ({KEY: described([2], [0, 8])}, 4),
    "bytes left over": ({KEY: described([2], [0, 8])}, 80),
    "backwards": ({KEY: described([2], [8, 0])}, 8),
    "negative offset": ({KEY: described([2], [-8, 0])}, 8),
    "negative shape": ({KEY: described([-2], [0, 8])}, 8),
    "huge shape": ({KEY: described([2**40, 2**40], [0, 8])}, 8),
    "huge offsets": ({KEY: described([2**62], [0, 2**64 - 1])}, 8),
    "shape is text": ({KEY: described("ab", [0, 8])}, 8),
    "unknown type": ({KEY: described([2], [0, 8], dtype="OBJECT")}, 8),
    "metadata is no text": ({"__metadata__": {"a": [1]}, KEY: described([2], [0, 8])}, 8),
    "not json": (b"{" + b"x" * 50, 8),
    "deep json": (b'{"a":' * 10_000, 8),
    "no utf-8": (b'{"\xff\xfe": 1}', 8),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_safetensors_headers_that_lie(tmp_path, name):
    header, size = BAD_HEADERS[name]
    path = tensors_file(tmp_path / "w.safetensors", header, bytes(size))
    refused(path, str(path), "cut short or damaged")


@pytest.mark.parametrize("length", [2**64 - 1, 2**62, 10**8, 10**5])
def test_safetensors_headers_longer_than_the_file(tmp_path, length):
    path = tensors_file(tmp_path / "w.safetensors", {"a": 1}, length=length)
    refused(path, f"a header of {length} bytes")


def test_safetensors_header_longer_than_any_sam_needs(tmp_path):
    path = tensors_file(tmp_path / "w.safetensors", b"{" + b" " * (17 * 2**20))
    refused(path, "far more than a SAM")


@pytest.mark.parametrize("dtype", ["I64", "BOOL", "U8", "F8_E4M3"])
def test_safetensors_of_wrong_type(tmp_path, dtype):
    size = {"I64": 8}.get(dtype, 1)
    header = {KEY: described([2], [0, 2 * size], dtype=dtype)}
    path = tensors_file(tmp_path / "w.safetensors", header, bytes(2 * size))
    refused(path, f"{path}: {KEY}", "tensor")


def test_safetensors_of_no_extent(tmp_path):
    path = tensors_file(tmp_path / "w.safetensors", {"a": described([0, 2**62], [0, 0])})
    refused(path, "no weights of a SAM")


# --- other files --------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../secret.safetensors",
        "/etc/passwd",
        "a/../../secret.safetensors",
        "..",
        ".",
        "",
        "..\\secret.safetensors",
        "C:secret",
        "sub/w.safetensors",
        "a\0b",
        "n" * 5000,
    ],
)
def test_shards_do_not_lead_out_of_their_folder(tmp_path, name):
    (tmp_path / "secret.safetensors").write_bytes(save({KEY: torch.zeros(1)}))
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "w.safetensors").write_bytes(save({KEY: torch.zeros(1)}))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {KEY: name}}))
    refused(folder, str(index), "the file name")


# --- anything at all ----------------------------------------------------------------


@pytest.fixture(scope="module")
def valid_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    torch.save({KEY: torch.ones(3, 2), "mask_decoder.x": torch.ones(2)}, folder / "w.pth")
    return [(folder / "w.pth").read_bytes(), save({KEY: torch.ones(3, 2)})]


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_anywhere_is_an_error_of_ours_or_none(valid_files, tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(valid_files)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    path = tmp_path / "w"
    path.write_bytes(content)
    try:
        state, _ = read_state_dict(path)
    except CheckpointError as error:
        assert len(str(error).splitlines()) <= 3
    else:
        assert all(torch.isfinite(tensor).all() for tensor in state.values())


@settings(max_examples=50, deadline=None)
@given(
    data=st.binary(max_size=200), start=st.sampled_from([b"", b"PK\x03\x04", b"\x08" + bytes(7)])
)
def test_any_bytes_are_an_error_of_ours(tmp_path_factory, data, start):
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(start + data)
    with pytest.raises(CheckpointError):
        read_state_dict(path)


@settings(max_examples=50, deadline=None)
@given(data=st.binary(min_size=1, max_size=80))
def test_any_pickle_is_an_error_of_ours(tmp_path_factory, data):
    path = archive(tmp_path_factory.getbasetemp() / "any.pth", b"\x80\x02" + data + b".")
    with pytest.raises(CheckpointError):
        read_state_dict(path)
