"""Tar files made to write elsewhere, to fill the memory, or to mean two things.

Shards are read where they lie and never unpacked; even so, every form of escape is refused by name.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import unicodedata
import zlib

import numpy as np
import pytest
from hostile_files import named, pax_record, refused_by, tar_file, tar_header, tar_member
from PIL import Image

from samft.data.shards.decoding import ShardDecoding
from samft.data.shards.shard_set import ShardSet, open_shards
from samft.errors import DatasetError

SIDE = 8


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "shard.tar"


def read(path):
    """Read a shard as training does: all samples, decoded."""
    shards = ShardSet(path.parent, open_shards([path]))
    return [ShardDecoding().sample(shards, shards[index]) for index in range(len(shards))]


def refused(path, *words):
    return refused_by(read, path, *words, kind=DatasetError)


def encoded(array, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


IMAGE = encoded(np.full((SIDE, SIDE, 3), 90, np.uint8))
MASK = encoded(np.eye(SIDE, dtype=np.uint8))


def sample(name="ok"):
    return tar_member(f"{name}.png", IMAGE) + tar_member(f"{name}.mask.png", MASK)


def test_what_is_attacked_below_is_read_when_whole(shard):
    found = read(tar_file(shard, sample("a"), sample("b")))
    assert [one.sample_id for one in found] == ["shard/a", "shard/b"]


# --- names ---------------------------------------------------------------------------------------

OUTSIDE = {
    "parent": "../a.jpg",
    "parent in between": "a/../../b.jpg",
    "parent at the end": "a/b/..",
    "absolute": "/etc/cron.d/a.jpg",
    "two slashes": "//host/share/a.jpg",
    "drive": "C:/a.jpg",
    "drive without a slash": "C:a.jpg",
    "drive of Windows": "C:\\a.jpg",
    "share of Windows": "\\\\host\\a.jpg",
    "parent of Windows": "..\\a.jpg",
    "mixed": "a\\../..\\b.jpg",
    "the folder itself": ".",
    "stream of NTFS": "a:b.jpg",
}


@pytest.mark.parametrize("how", ["header", "long name", "pax"])
@pytest.mark.parametrize("form", OUTSIDE)
def test_names_that_lead_out(shard, form, how):
    path = tar_file(shard, sample(), named(OUTSIDE[form], IMAGE, how))
    refused(path, "a shard names a file outside itself", repr(OUTSIDE[form]), "fix: pack it again")


@pytest.mark.parametrize("form", ["parent", "parent in between", "absolute", "drive"])
def test_names_that_lead_out_by_their_prefix(shard, form):
    path = tar_file(shard, sample(), named(OUTSIDE[form], IMAGE, "prefix"))
    refused(path, "a shard names a file outside itself")


@pytest.mark.parametrize("first", ["a.png", "a.PNG", "./a.png", "x/../a.png"])
def test_two_members_of_one_name(shard, first):
    path = tar_file(shard, tar_member(first, IMAGE), sample("a"))
    refused(path, "outside itself" if ".." in first else "two files for one purpose")


def test_names_that_a_file_system_would_confuse(shard):
    """Nothing is unpacked, so that no file takes the place of another."""
    names = ["Scan", "scan", *(unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))]
    found = read(tar_file(shard, *map(sample, names)))
    assert [one.sample_id for one in found] == [f"shard/{name}" for name in names]


def test_names_with_control_characters_do_not_reach_the_terminal(shard):
    path = tar_file(shard, named("../\x1b[2Jx\n\n\n\n.jpg", IMAGE, "pax"))
    error = refused(path, "outside itself")
    assert "\x1b" not in str(error)


def test_a_name_longer_than_any_file_system_has(shard):
    path = tar_file(shard, named("x" * 5000 + ".png", IMAGE, "pax"))
    refused(path, "too long a name", "5000 bytes")


# --- what is no file -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"1", b"2"], ids=["hard link", "symbolic link"])
@pytest.mark.parametrize("to", ["/etc/passwd", "../../secret.txt", "ok.png"])
def test_links(shard, kind, to):
    path = tar_file(shard, sample(), tar_member("a.png", kind=kind, link=to.encode()))
    refused(path, "no plain file", "'a.png', a link", "--dereference")


def test_a_file_through_a_link(shard, tmp_path):
    link = tar_member("x", kind=b"2", link=str(tmp_path).encode())
    refused(tar_file(shard, link, named("x/written.png", IMAGE, "header")), "'x', a link")
    assert not (tmp_path / "written.png").exists()


@pytest.mark.parametrize("kind", [b"3", b"4", b"6"], ids=["characters", "blocks", "pipe"])
def test_devices_and_pipes_are_passed_over(shard, kind):
    device = tar_header("a.png", kind=kind, size=b"77777777777")
    refused(tar_file(shard, device), "the shard holds no sample")
    assert len(read(tar_file(shard.with_name("more.tar"), device, sample()))) == 1


@pytest.mark.parametrize("kind", [b"S", b"D", b"M", b"Z"])
def test_members_of_other_kinds(shard, kind):
    refused(tar_file(shard, tar_member("a.png", IMAGE, kind=kind)), "no plain file")


@pytest.mark.parametrize("key", ["GNU.sparse.major=1", "GNU.sparse.realsize=99999999999"])
def test_sparse_files_by_their_pax_header(shard, key):
    pax = tar_member("pax", pax_record(key), kind=b"x")
    refused(tar_file(shard, pax, tar_member("a.png", IMAGE)), "a sparse file")


# --- sizes that lie ------------------------------------------------------------------------------

SIZES = {
    "eleven sevens": b"77777777777",
    "twelve digits": b"777777777777",
    "no octal": b"99999999999",
    "hexadecimal": b"0x00000001z",
    "letters": b"a size here",
    "negative": b"-0000000777",
    "a byte more than there is": b"00000004000",
    "base 256": b"\x80" + b"\xff" * 11,
    "base 256, 2^62": b"\x80\0\0\0\x40" + bytes(7),
    "base 256, negative": b"\xff" * 11 + b"\x00",
}


@pytest.mark.parametrize("form", SIZES)
def test_sizes_that_are_none(shard, form):
    refused(tar_file(shard, tar_header("a.png", size=SIZES[form]) + IMAGE))


@pytest.mark.parametrize("size", ["9" * 20, "9" * 5000, str(2**62)])
def test_sizes_in_a_pax_header(shard, size):
    pax = tar_member("pax", pax_record(f"size={size}"), kind=b"x")
    refused(tar_file(shard, pax, tar_member("a.png", IMAGE)))


@pytest.mark.parametrize("text", [b"9999999 path=a\n", b"0 path=a\n", b"x path=a\n", b"6 path\n",
                                  b"-9 path=a\n", b"12", b"\xd9\xa5 a=\n"])  # fmt: skip
def test_records_of_a_pax_header_that_lie(shard, text):
    pax = tar_member("pax", text, kind=b"x")
    refused(tar_file(shard, pax, tar_member("a.png", IMAGE)), "damaged pax header")


def test_as_many_records_as_a_pax_header_has_room_for(shard):
    pax = tar_member("pax", b"5 a=\n" * 200_000, kind=b"x")
    assert len(read(tar_file(shard, pax, sample()))) == 1


@pytest.mark.parametrize("kind", [b"x", b"L"])
def test_headers_of_gigabytes(shard, kind):
    with shard.open("wb") as file:
        file.write(tar_header("pax", size=b"%011o" % 2**32, kind=kind))
        file.truncate(2**32 + 4096)  # a sparse file
    refused(shard, f"a name of {2**32} bytes")
    shard.unlink()


# --- many, and little of each --------------------------------------------------------------------


def test_a_hundred_thousand_empty_members(shard):
    refused(tar_file(shard, tar_header("a.bin") * 100_000), "100000 files of other kinds")


def test_members_without_content(shard):
    refused(tar_file(shard, tar_member("a.png"), tar_member("a.mask.png", MASK)), "is empty")


def test_many_headers_about_one_member(shard):
    about = tar_member("pax", pax_record("path=a.png"), kind=b"x") * 25_000
    found = read(tar_file(shard, about, tar_member("x", IMAGE), sample()))
    assert [one.sample_id for one in found] == ["shard/a", "shard/ok"]


# --- cut short, packed, or no tar at all ---------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 511, 512, 513, 700, 1024, 1536, 2000, 2047])
def test_cut_short(shard, kept):
    whole = tar_file(shard, sample()).read_bytes()
    shard.write_bytes(whole[:kept])
    refused(shard, "the shard is incomplete", "copy or download it again")


@pytest.mark.parametrize("end", [b"", bytes(511)])
def test_without_an_end(shard, end):
    shard.write_bytes(sample() + end)
    refused(shard, "the shard is incomplete")


def test_compressed_with_gigabytes_inside(shard):
    with gzip.open(shard, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(bytes(2**20))
    refused(shard, "an uncompressed tar file")


@pytest.mark.parametrize(
    "start",
    [b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"\0"],
)
def test_other_archives(shard, start):
    shard.write_bytes(start + b"\1" * 2000)
    refused(shard, "an uncompressed tar file")


def test_checksums_that_do_not_fit(shard):
    header = bytearray(sample())
    header[148:156] = b"0000000\0"
    refused(tar_file(shard, bytes(header)), "no header of a file at byte 0")


def test_signs_for_nothing(shard):
    refused(tar_file(shard), "the shard holds no sample")


# --- what is inside ------------------------------------------------------------------------------


def large_png(width, height):
    def chunk(kind, content):
        crc = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + crc

    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", sides + b"\x08\x02\0\0\0")
        + chunk(b"IDAT", pixels)
        + chunk(b"IEND", b"")
    )


def test_a_picture_of_gigabytes(shard):
    refused(tar_file(shard, tar_member("a.png", large_png(60_000, 60_000))), "a.png")


def test_a_mask_of_gigabytes(shard):
    mask = tar_member("a.mask.png", large_png(60_000, 60_000))
    refused(tar_file(shard, tar_member("a.png", IMAGE), mask), "a.mask.png")


def labels(segmentation, **more):
    image = {"width": SIDE, "height": SIDE, "file_name": "a.png", "image_id": 1}
    return {"image": image, "annotations": [{"segmentation": segmentation, **more}]}


LABELS = {
    "runs of gigabytes": labels({"size": [2**20, 2**20], "counts": [0, 2**40]}),
    "runs of another size": labels({"size": [9, 9], "counts": [0, 81]}),
    "runs that do not add up": labels({"size": [SIDE, SIDE], "counts": [0, 999]}),
    "negative runs": labels({"size": [SIDE, SIDE], "counts": [-5, 69]}),
    "endless text of runs": labels({"size": [SIDE, SIDE], "counts": "o" * 100_000}),
    "numbers beyond all": labels([[1e308, 1e308, -1e308, 1e308, 0, 1e309]]),
    "no annotations": {"image": {}},
    "a list of numbers": [1, 2, 3],
    "a text": "annotations",
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_that_lie(shard, form):
    content = json.dumps(LABELS[form]).encode()
    refused(tar_file(shard, tar_member("a.png", IMAGE), tar_member("a.json", content)), "a.json")


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"", b"nan("])
def test_labels_that_are_no_json(shard, content):
    member = tar_member("a.json", content or b" ")
    refused(tar_file(shard, tar_member("a.png", IMAGE), member), "a.json")


def test_what_python_unpacks_is_not_what_is_read(shard, tmp_path):
    """The oracle: `tarfile` without its filter would write where the name says."""
    path = tar_file(shard, named("../escaped.png", IMAGE, "header"))
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["../escaped.png"]
    refused(path, "outside itself")
    assert not (tmp_path / "escaped.png").exists()
