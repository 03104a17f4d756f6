"""Tables of pairs as spreadsheets, pandas and scripts write them, and as nobody should."""

import tracemalloc
from pathlib import Path

import pytest

from samft.data.readers.pairs_csv import find_columns, read_csv, read_pairs
from samft.errors import DatasetError


def rows(path: Path):
    return [(row.images, row.labels) for row in read_pairs(path)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", b"image,mask\na.png,m.png\n"),
        ("a.csv", b"\xef\xbb\xbfimage,mask\r\na.png,m.png\r\n"),
        ("a.csv", b"Image Path;Mask Path\na.png;m.png\n"),
        ("a.csv", b"sep=;\r\nimage;mask\r\na.png;m.png\r\n"),
        ("a.tsv", b"image\tmask\na.png\tm.png\n\n"),
        ("a.csv", "image\tlabel\r\na.png\tm.png\r\n".encode("utf-16")),
        ("a.csv", b',image,mask\n0,"a.png","m.png"\n'),
        ("a.csv", b"file_name,mask_file_name\na.png,m.png\n"),
        ("a.jsonl", b'{"image": "a.png", "mask": "m.png"}\n\n'),
        ("a.jsonl", b'{"image": ["a.png"], "masks": ["m.png"]}'),
    ],
)
def test_one_pair_however_it_is_written(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert rows(tmp_path / name) == [(("a.png",), ("m.png",))]


def test_names_with_delimiters_and_missing_masks(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text('image,mask\n"a, b.png",nan\n"c ""d"".png","x\ny.png"\n,m.png\n')
    assert rows(table) == [(("a, b.png",), ()), (('c "d".png',), ("x\ny.png",))]


def test_columns() -> None:
    assert find_columns(["id", "text"]) is None
    assert find_columns(["image"]) is None
    assert find_columns(["mask"]) is None
    found = find_columns(["mask", "label", "image", "image_2", "image_10", "Patient ID", "set"])
    assert found is not None
    assert (found.label, found.class_name) == ("mask", "label")
    assert found.images == ("image", "image_2", "image_10")
    assert (found.case, found.split) == ("Patient ID", "set")
    assert find_columns(["image_1", "image_0", "seg"]).images == ("image_0", "image_1")


@pytest.mark.parametrize(
    ("name", "data", "what", "found"),
    [
        ("a.csv", b"x,y\n1,2\n", "no columns of images and masks", "x, y"),
        ("a.csv", b"", "no columns of images and masks", "an empty file"),
        ("a.csv", b"image,mask\na.png,b.png,c.png\n", "more cells", "3 cells"),
        ("a.csv", b"image,mask,mask\na,b,c\n", "the same name", "image, mask, mask"),
        ("a.csv", b"image,mask\n\xff\xfe.png,b.png\n", "cannot be read", "utf-8"),
        ("a.csv", b'image,mask\n"a.png,b.png\n', "cannot be read", "unexpected end"),
        ("a.csv", b"image,mask\n" + b"a" * 2**21, "cannot be read", "field limit"),
        ("a.jsonl", b"[" * 2**21, "cannot be read", "line 1"),
        ("a.jsonl", b'{"image": "a"', "cannot be read", "line 1"),
        ("a.jsonl", b"[" * 9999, "cannot be read", "line 1"),
        ("a.jsonl", b"[1]", "cannot be read", "line 1: a list"),
        ("a.jsonl", b'{"image": 7, "mask": "a"}', "no file name", "a number"),
        ("a.jsonl", b'{"image": "a", "mask": [{}]}', "no file name", "an object"),
        ("a.jsonl", b'{"image": "a", "mask": "b", "split": ["x"]}', "no text", "a list"),
        ("a.jsonl", b'{"image": NaN, "mask": "b"}', "no file name", "a number"),
    ],
)
def test_bad_tables(tmp_path: Path, name: str, data: bytes, what: str, found: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError, match=what) as caught:
        list(read_pairs(tmp_path / name))
    assert found in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_csv(tmp_path / "no.csv")


def test_numbers_as_case_and_no_value(tmp_path: Path) -> None:
    table = tmp_path / "a.jsonl"
    table.write_text('{"image": "a", "mask": "b", "patient": 7, "split": NaN, "class": null}\n')
    (row,) = read_pairs(table)
    assert (row.case, row.split, row.class_name) == ("7", None, None)


def test_a_long_table_takes_little_memory(tmp_path: Path) -> None:
    table = tmp_path / "long.csv"
    table.write_text("image,mask\n" + "images/a.png,masks/a.png\n" * 20_000)
    tracemalloc.start()
    count = sum(1 for _ in read_pairs(table))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < 2**20
