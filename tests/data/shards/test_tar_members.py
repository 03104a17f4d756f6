"""Where files lie in a tar: as Python's tarfile says, and nothing of what is damaged or hostile."""

from __future__ import annotations

import io
import tarfile

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from samft.data.shards.tar_members import read_members
from samft.errors import DatasetError

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
PART = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\:."), min_size=1, max_size=60)
NAMES = st.lists(PART, min_size=1, max_size=5).map("/".join)


def make(path, files, **more):
    with tarfile.open(path, "w", **more) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@settings(deadline=None, max_examples=40)
@given(
    files=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5),
    kind=st.sampled_from(FORMATS[1:]),
)
def test_files_lie_where_tarfile_finds_them(tmp_path_factory, files, kind) -> None:
    path = make(tmp_path_factory.mktemp("t") / "a.tar", files.items(), format=kind)
    found = list(read_members(path))
    with tarfile.open(path) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar]
    assert found == expected
    content = path.read_bytes()
    assert [content[m.offset : m.offset + m.size] for m in found] == list(files.values())


@pytest.mark.parametrize("kind", FORMATS)
def test_prefixes_folders_and_dots(tmp_path, kind) -> None:
    name = "/".join(["f" * 40] * 4) + "/sa_1.jpg"
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=kind) as tar:
        folder = tarfile.TarInfo("./folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for text in (name, "./sa_2.jpg"):
            member = tarfile.TarInfo(text)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    assert [member.name for member in read_members(path)] == [name, "sa_2.jpg"]


def test_large_numbers_of_gnu_and_pax(tmp_path) -> None:
    """Sizes beyond eleven octal digits, written in a header by hand: nobody waits for 8 GB."""
    member = tarfile.TarInfo("a.bin")
    member.size = 2**33 + 7
    for kind in FORMATS[1:]:
        path = tmp_path / f"{kind}.tar"
        with path.open("wb") as file:
            file.write(member.tobuf(kind))
            start = file.tell()
            file.truncate(start + -(-member.size // 512) * 512 + 1024)  # a sparse file
        assert list(read_members(path)) == [("a.bin", start, member.size)]


def test_signed_checksums_of_old_programs(tmp_path) -> None:
    header = bytearray(tarfile.TarInfo("\xfc\xfc.txt").tobuf(tarfile.GNU_FORMAT, "latin-1"))
    header[148:156] = b" " * 8
    signed = sum(byte - 256 if byte > 127 else byte for byte in header)
    header[148:156] = f"{signed:06o}\0 ".encode()
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(header) + bytes(1024))
    assert len(list(read_members(path))) == 1


@pytest.mark.parametrize("name", ["../a.jpg", "a/../../b.jpg", "/etc/a.jpg", "C:/a.jpg", "..\\a"])
def test_names_that_lead_out(tmp_path, name) -> None:
    path = make(tmp_path / "a.tar", [("ok.jpg", b"1"), (name, b"2")])
    with pytest.raises(DatasetError) as caught:
        list(read_members(path))
    text = str(caught.value)
    assert text.startswith("a shard names a file outside itself")
    assert str(path) in text
    assert "fix: pack it again" in text


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links(tmp_path, kind) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(DatasetError, match="no plain file") as caught:
        list(read_members(path))
    assert "'a.jpg', a link" in str(caught.value)
    assert "--dereference" in str(caught.value)


@settings(deadline=None, max_examples=25)
@given(cut=st.integers(0, 3583))
def test_half_a_copy(tmp_path_factory, cut) -> None:
    path = make(tmp_path_factory.mktemp("t") / "a.tar", [(f"{i}.jpg", bytes(700)) for i in "ab"])
    content = path.read_bytes()[:3584]  # two headers, two contents, one of the blocks at the end
    path.write_bytes(content)
    assert len(list(read_members(path))) == 2
    path.write_bytes(content[:cut])
    with pytest.raises(DatasetError) as caught:
        list(read_members(path))
    assert str(caught.value).splitlines()[0] == "the shard is incomplete"
    assert "copy or download it again" in str(caught.value)


@settings(deadline=None, max_examples=60)
@given(place=st.integers(0, 2559), value=st.integers(0, 255))
def test_a_damaged_byte_gives_members_or_an_error(tmp_path_factory, place, value) -> None:
    path = make(
        tmp_path_factory.mktemp("t") / "a.tar", [("é" * 80, b"1")], format=tarfile.PAX_FORMAT
    )
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)
    try:
        found = list(read_members(path))
    except DatasetError as error:
        assert str(path) in str(error)
    else:
        assert all(member.offset + member.size <= len(content) for member in found)


def test_no_tar_at_all(tmp_path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"\x1f\x8b" + b"x" * 5000)
    with pytest.raises(DatasetError) as caught:
        list(read_members(path))
    assert "the file cannot be read" in str(caught.value)
    assert "no header of a file at byte 0, expected: an uncompressed tar file" in str(caught.value)


def test_a_name_of_gigabytes(tmp_path) -> None:
    member = tarfile.TarInfo("@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2**31
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(member.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**31 + 4096)
    with pytest.raises(DatasetError, match="a name of 2147483648 bytes"):
        list(read_members(path))


def test_sparse_files_of_pax(tmp_path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a.jpg")
        member.pax_headers = {"GNU.sparse.major": "1"}
        tar.addfile(member)
    with pytest.raises(DatasetError, match="a sparse file"):
        list(read_members(path))
