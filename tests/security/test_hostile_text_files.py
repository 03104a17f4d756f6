"""Text files made to fill the memory or to break the parser: an error of ours for each of them."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from samft.cli.configs import read_config
from samft.data.prompt_files import read_prompts
from samft.data.readers.bids import read_class_names as read_bids_names
from samft.data.readers.coco import read_coco
from samft.data.readers.cvat import read_cvat
from samft.data.readers.datalist import read_datalist
from samft.data.readers.geojson import read_geojson
from samft.data.readers.json_files import read_json, read_json_lines
from samft.data.readers.label_studio import read_label_studio
from samft.data.readers.labelme import read_label_names, read_labelme
from samft.data.readers.mat import read_mat
from samft.data.readers.nnunet import read_description, read_splits
from samft.data.readers.pairs_csv import read_pairs
from samft.data.readers.sa1b import read_sa1b
from samft.data.readers.voc import read_class_names, read_image_list
from samft.data.shards.shard_set import ShardSet, open_shards
from samft.errors import DatasetError, SamftError
from samft.inference.formats.coco import CocoNumbers
from samft.inference.formats.dicom_codes import DicomCodes

Reader = Callable[[Path], object]


def prompts(path: Path) -> object:
    return read_prompts(path, {"a.png": "a"}, lambda _: (10, 10))


JSON: dict[str, Reader] = {
    "any": lambda path: read_json(path, "a file"),
    "lines": lambda path: list(read_json_lines(path, "a file")),
    "coco": read_coco,
    "sa1b": read_sa1b,
    "labelme": read_labelme,
    "label studio": read_label_studio,
    "geojson": read_geojson,
    "datalist": read_datalist,
    "nnunet": read_description,
    "nnunet splits": read_splits,
    "prompts": prompts,
    "coco numbers": CocoNumbers.read,
}
TABLES: dict[str, tuple[str, Reader]] = {
    "pairs": ("pairs.csv", lambda path: list(read_pairs(path))),
    "prompts": ("prompts.csv", prompts),
    "bids": ("labels.tsv", read_bids_names),
}
LISTS: dict[str, Reader] = {
    "labelme": read_label_names,
    "voc classes": read_class_names,
    "voc images": read_image_list,
}
YAML: dict[str, Reader] = {"recipe": read_config, "dicom codes": DicomCodes.read}

DEEP = 100_000
BROKEN_JSON = {
    "deep list": "[" * DEEP,
    "deep object": '{"a":' * DEEP,
    "deep and closed": "[" * DEEP + "]" * DEEP,
    "long number": "[" + "9" * 5000 + "]",
    "not utf-8": b'{"a": "\xff\xfe"}',
    "nul": b"\0" * 100,
    "half": '{"annotations": [{"id": 1',
    "lone surrogate": '{"\\ud800": 1',
    "two values": "{} {}",
    "nothing": "",
}


def refused(read: Reader, path: Path) -> str:
    with pytest.raises(SamftError) as error:
        read(path)
    text = str(error.value)
    assert str(path) in text
    assert len(text.splitlines()) <= 3
    assert len(text) < 1000
    return text


@pytest.mark.parametrize("damage", BROKEN_JSON)
@pytest.mark.parametrize("reader", JSON)
def test_broken_json(tmp_path: Path, reader: str, damage: str) -> None:
    content = BROKEN_JSON[damage]
    path = tmp_path / "labels.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if reader == "lines" and damage == "nothing":
        assert JSON[reader](path) == []
    else:
        refused(JSON[reader], path)


@pytest.mark.parametrize("reader", JSON)
def test_json_larger_than_allowed(tmp_path: Path, monkeypatch, reader: str) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000")
    path = tmp_path / "labels.json"
    path.write_text('{"a": "' + "x" * 2000 + '"}')
    if reader != "lines":  # read line by line, whose length has a limit of its own
        assert "more memory than allowed" in refused(JSON[reader], path)


@pytest.mark.parametrize("reader", LISTS)
def test_lists_larger_than_allowed(tmp_path: Path, monkeypatch, reader: str) -> None:
    path = tmp_path / "names.txt"
    path.write_text("name\n" * 500)
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000")
    assert "more memory than allowed" in refused(LISTS[reader], path)


@pytest.mark.parametrize("reader", LISTS)
def test_lists_that_are_no_text(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xff\xfe\x00name")
    refused(LISTS[reader], path)


@pytest.mark.parametrize(
    "content", [b"\0" * 50, b'image,mask\n"never closed', b"\xff\xfe\xff", b""]
)
@pytest.mark.parametrize("reader", TABLES)
def test_broken_tables(tmp_path: Path, reader: str, content: bytes) -> None:
    name, read = TABLES[reader]
    path = tmp_path / name
    path.write_bytes(content)
    refused(read, path)


def test_a_matlab_file_larger_than_allowed(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(126) + b"IM" + bytes(2000))
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000")
    assert "more memory than allowed" in refused(read_mat, path)


@pytest.mark.parametrize("reader", YAML)
@pytest.mark.parametrize(
    "content",
    [
        "[" * 20_000,
        "a: " + "9" * 5000,
        "a: !!python/object/apply:os.system ['true']",
        "a: !!python/name:os.system",
        "a: 2001-99-99",
        "\x00",
    ],
    ids=["deep", "long number", "call", "name", "no date", "nul"],
)
def test_broken_yaml(tmp_path: Path, reader: str, content: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    refused(YAML[reader], path)


def test_xml_of_a_kind_that_is_no_annotation(tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>')
    refused(read_cvat, path)


def test_a_file_in_a_shard_that_is_larger_than_allowed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, size in (("x.jpg", 10), ("x.json", 5000)):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
    shards = ShardSet(tmp_path, open_shards([path]))
    entry = shards[0]
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000")
    assert len(shards.read(entry, "image")) == 10
    with pytest.raises(DatasetError, match="more memory than allowed"):
        shards.read(entry, "label")
