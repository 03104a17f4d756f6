"""Text files made to fill the memory or to break the parser: an error of ours for each of them."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from samft.cli.configs import read_config
from samft.cli.zeroshot.text_task import read_texts
from samft.data.preprocessing import Preprocessing
from samft.data.prompt_files import read_prompts
from samft.data.readers.aperio import read_aperio
from samft.data.readers.bids import read_class_names as read_bids_names
from samft.data.readers.coco import read_coco
from samft.data.readers.cvat import read_cvat
from samft.data.readers.datalist import read_datalist
from samft.data.readers.geojson import read_geojson
from samft.data.readers.iphotodraw import read_iphotodraw
from samft.data.readers.json_files import read_json, read_json_lines
from samft.data.readers.label_studio import read_label_studio
from samft.data.readers.labelme import read_label_names, read_labelme
from samft.data.readers.mat import read_mat
from samft.data.readers.nnunet import read_description, read_splits
from samft.data.readers.pairs_csv import read_pairs
from samft.data.readers.sa1b import read_sa1b
from samft.data.readers.voc import read_class_names, read_image_list, read_stated_size
from samft.data.shards.annotations import read_annotations
from samft.data.shards.shard_set import ShardSet, open_shards
from samft.errors import DatasetError, SamftError
from samft.evaluation.ratings.key import read_key
from samft.evaluation.ratings.reading import read_sheet
from samft.evaluation.report.case_table import Column, read_cases
from samft.evaluation.report.privacy import Privacy
from samft.evaluation.report.results import read_results
from samft.evaluation.report.training import read_training
from samft.evaluation.zero_shot.boxes import BoxIds, read_boxes
from samft.inference.formats.coco import CocoNumbers
from samft.inference.formats.dicom_codes import DicomCodes
from samft.run_environment import read_record, read_settings

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
    "boxes": lambda path: read_boxes(path, BoxIds(images={}, categories={})),
    "texts": read_texts,
}
SMALL_JSON: dict[str, tuple[str, Reader]] = {
    "results of a test": ("metrics.json", lambda path: read_results(path.parent, Privacy(None))),
    "record of a run": ("env.json", read_record),
    "file in a shard": ("a.json", lambda path: read_annotations(path.read_bytes(), path)),
}
XML: dict[str, Reader] = {
    "aperio": read_aperio,
    "cvat": read_cvat,
    "iphotodraw": read_iphotodraw,
    "voc": read_stated_size,
}
TABLES: dict[str, tuple[str, Reader]] = {
    "pairs": ("pairs.csv", lambda path: list(read_pairs(path))),
    "prompts": ("prompts.csv", prompts),
    "bids": ("labels.tsv", read_bids_names),
    "training": ("metrics.csv", lambda path: read_training(path.parent, path)),
    "scores": ("images.csv", lambda path: read_cases(path, [Column("box", "m")])),
    "rating key": ("key.csv", read_key),
    "rating sheet": ("anna.csv", lambda path: read_sheet(path, {})),
}
LISTS: dict[str, Reader] = {
    "labelme": read_label_names,
    "voc classes": read_class_names,
    "voc images": read_image_list,
}
YAML: dict[str, Reader] = {
    "recipe": read_config,
    "dicom codes": DicomCodes.read,
    "settings of a run": read_settings,
    "preprocessing of a run": Preprocessing.of_config,
}
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)

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


@pytest.mark.parametrize("damage", BROKEN_JSON)
@pytest.mark.parametrize("reader", SMALL_JSON)
def test_broken_json_of_runs(tmp_path: Path, reader: str, damage: str) -> None:
    name, read = SMALL_JSON[reader]
    content = BROKEN_JSON[damage]
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    refused(read, tmp_path / name)


def test_results_of_a_test_that_are_too_deep_to_walk(tmp_path: Path) -> None:
    deep = "[" * 500 + "]" * 500
    path = tmp_path / "metrics.json"
    path.write_text(f'{{"format": "samft-test", "version": 1, "environment": {{"a": {deep}}}}}')
    assert "deep in each other" in refused(lambda p: read_results(p.parent, Privacy(None)), path)


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
        "[" * 400,
        "a: " + "9" * 5000,
        "a: !!python/object/apply:os.system ['true']",
        "a: !!python/name:os.system",
        "a: 2001-99-99",
        "\x00",
        LAUGHS,
        "model: &a {init_args: *a}",
        "a: !!bool x",
    ],
    ids=["deep", "long number", "call", "name", "no date", "nul", "laughs", "endless", "tag"],
)
def test_broken_yaml(tmp_path: Path, reader: str, content: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    refused(YAML[reader], path)


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><a>&c;</a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
        "<a>" * 100,
        "<a><b></a>",
        "<a",
        "",
        "\x00\x00<a/>",
        '<?xml version="1.0" encoding="none-such"?><a/>',
        "<a>&b;</a>",
    ],
    ids=[
        *("file", "laughs", "remote", "deep", "not closed", "cut", "empty", "nul", "encoding"),
        "undeclared",
    ],
)
@pytest.mark.parametrize("reader", XML)
def test_hostile_xml(tmp_path: Path, reader: str, content: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(content)
    refused(XML[reader], path)


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
