"""XML as a stream, and files that are made to harm."""

import tracemalloc
from pathlib import Path

import pytest

from samft.data.readers.xml_files import number, read_xml, tags_in
from samft.errors import DatasetError

BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">'
    + "".join(f'<!ENTITY lol{i} "{f"&lol{i - 1 or str()};" * 10}">' for i in range(1, 10))
    + "]><annotations>&lol9;</annotations>"
)
EXTERNAL = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<annotations>&x;</annotations>"
)
OUTSIDE_DTD = '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><annotations/>'


def events(path: Path) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    read_xml(
        path,
        lambda name, attributes: found.append((name, dict(attributes))),
        lambda name, text: found.append((f"/{name}", text)),
        expected="test XML",
    )
    return found


def test_elements_attributes_and_text(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<?xml version="1.0"?><a>\n  <b x="1"> t&amp;u <c/> v</b>\n</a>')
    assert events(path) == [
        ("a", {}), ("b", {"x": "1"}), ("c", {}), ("/c", ""), ("/b", "t&u  v"), ("/a", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    declared = (
        "" if encoding.startswith("utf-8") else f'<?xml version="1.0" encoding="{encoding}"?>'
    )
    path = tmp_path / "a.xml"
    path.write_bytes(f"{declared}<a n='Zäpfchen'/>".encode(encoding))
    assert events(path)[0] == ("a", {"n": "Zäpfchen"})
    assert tags_in(path.read_bytes()) == ["a"]


@pytest.mark.parametrize("text", [BILLION_LAUGHS, EXTERNAL, OUTSIDE_DTD])
def test_document_types_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(DatasetError, match="document type or entities") as caught:
        events(path)
    assert caught.value.where == path
    assert "take the declaration out" in str(caught.value.fix)
    assert tags_in(text.encode()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"<a><b></a>", b"<a", b"<a>\xff\xfe</a>", b"\x89PNG\r\n", b"<a>&nope;</a>"],
)
def test_damaged_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        events(path)
    assert caught.value.where == path
    assert caught.value.expected == "test XML"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        events(tmp_path / "a.xml")


def test_nesting_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<a>" * 100_000)
    with pytest.raises(DatasetError, match="64 deep"):
        events(path)


def test_large_files_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<a>" + " " * 4000 + "</a>")
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000")
    with pytest.raises(DatasetError, match="more memory than allowed"):
        events(path)


def test_one_endless_tag_is_refused_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samft.data.readers.xml_files._LONGEST_TOKEN", 2**20)
    path = tmp_path / "a.xml"
    path.write_bytes(b'<a x="' + b"1" * (16 * 2**20))
    tracemalloc.start()
    with pytest.raises(DatasetError, match="one tag of more than 1 MB"):
        events(path)
    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()


def test_numbers_with_point_or_comma() -> None:
    assert number({"X": " 12.5 "}, "X", Path("a.xml")) == 12.5
    assert number({"X": "12,5"}, "X", Path("a.xml")) == 12.5


@pytest.mark.parametrize("text", [None, "", "nan", "inf", "1;2", "one"])
def test_what_is_no_number(text: str | None) -> None:
    with pytest.raises(DatasetError, match="attribute 'X' is not a number") as caught:
        number({} if text is None else {"X": text}, "X", Path("a.xml"))
    assert caught.value.where == Path("a.xml")
    assert "draw the shape again" in str(caught.value.fix)
