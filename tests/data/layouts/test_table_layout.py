"""Data sets that a table describes."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.table import TableLayout
from samft.errors import ConfigError, DatasetError


def table(root: Path, text: str, name: str = "pairs.csv") -> TableLayout:
    root.mkdir(exist_ok=True, parents=True)
    (root / name).write_text(text)
    return TableLayout(root, LayoutSettings())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three pictures, each with a mask of two values and two binary masks."""
    for number in range(3):
        labels = discs(number, count=2)
        save(tmp_path / "img" / f"{number}.png", picture(labels, number))
        save(tmp_path / "truth" / f"{number}.png", labels.astype(np.uint8))
        for value, name in ((1, "disc"), (2, "other")):
            save(tmp_path / "truth" / f"{number}_{name}.png", (labels == value).astype("u1") * 255)
    return tmp_path


def test_a_plain_table(files: Path) -> None:
    layout = table(
        files,
        "image,mask,split,patient\nimg/0.png,truth/0.png,train,A\n"
        "img/1.png,truth/1.png,Validation,B\nimg/2.png,,test,C\n",
    )
    assert TableLayout.recognise(Listing.of(files)) == "pairs.csv: a table of images and masks"
    records = layout.records()
    assert [(r.sample_id, r.case_id, r.split) for r in records] == [
        ("img/0.png", "A", "train"),
        ("img/1.png", "B", "val"),
        ("img/2.png", "C", "test"),
    ]
    assert layout.class_names == ("object",)
    assert [layout.truth(r).objects("component").object_class.size for r in records] == [2, 2, 0]
    assert layout.truth(records[2]).size == (48, 64)


def test_several_rows_are_several_classes(files: Path) -> None:
    rows = [
        f"img/{n}.png,truth/{n}_{name}.png,{name}\n" for n in range(2) for name in ("other", "disc")
    ]
    layout = table(files, "image,mask,label\n" + "".join(rows))
    first, second = layout.records()
    assert layout.class_names == ("disc", "other")
    objects = layout.truth(second).objects("component")
    assert objects.object_class.tolist() == [1, 0]
    expected = discs(1, count=2)
    shown = objects.layers[objects.object_layer[1]] == 2
    np.testing.assert_array_equal(shown, expected == 1)
    chosen = TableLayout(files, LayoutSettings(classes=["disc"]))
    assert [len(r.labels) for r in chosen.records()] == [1, 1]
    assert chosen.truth(chosen.records()[0]).objects("class").object_class.tolist() == [0]
    wrong = TableLayout(files, LayoutSettings(classes=["dics"]))
    with pytest.raises(ConfigError, match="no row of the table has a class") as caught:
        wrong.records()
    assert "did you mean 'disc'" in str(caught.value)
    assert first.labels[0].name == "0_other.png"


def test_several_masks_without_classes(files: Path) -> None:
    layout = table(files, "image,mask\nimg/0.png,truth/0_disc.png\nimg/0.png,truth/0_other.png\n")
    (record,) = layout.records()
    assert layout.truth(record).objects("component").object_class.tolist() == [0, 0]


def test_named_values(files: Path) -> None:
    (files / "t.jsonl").write_text('{"image": "img/0.png", "mask": "truth/0.png"}\n')
    layout = TableLayout(files, LayoutSettings(labels="t.jsonl", classes={1: "one", 2: "two"}))
    (record,) = layout.records()
    assert layout.truth(record).objects("component").object_class.tolist() == [0, 1]


def test_channels_and_volumes(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    for name, array in (("a", values), ("b", values), ("m", labels)):
        write_nifti(tmp_path / "sub-3" / f"{name}.nii.gz", array)
    layout = table(tmp_path, "image,image_2,label\nsub-3/a.nii.gz,sub-3\\b.nii.gz,sub-3/m.nii.gz\n")
    (record,) = layout.records()
    assert (record.sample_id, record.case_id) == ("sub-3/a", "sub-3")
    assert [path.name for path in record.images] == ["a.nii.gz", "b.nii.gz"]
    assert layout.truth(record).size == (6, 24, 20)
    layout.check([record])


def test_tables_named_after_splits(files: Path) -> None:
    (files / "lists").mkdir()
    for number, name in enumerate(("train", "val", "test")):
        row = f"../img/{number}.png,{files}/truth/{number}.png"
        (files / "lists" / f"{name}.csv").write_text(f"image,mask\n{row}\n")
    layout = TableLayout(files, LayoutSettings())
    assert {(r.sample_id, r.split) for r in layout.records()} == {
        ("img/0.png", "train"),
        ("img/1.png", "val"),
        ("img/2.png", "test"),
    }


@pytest.mark.parametrize("other", ["truth/9.png", "nowhere/0.png"])
def test_files_that_are_missing(files: Path, other: str, caplog) -> None:
    text = f"image,mask\nimg/0.png,truth/0.png\nimg/1.png,{other}\n"
    with pytest.raises(DatasetError, match="1 named file does not exist") as caught:
        table(files, text).records()
    assert f"{other} (pairs.csv: line 3)" in str(caught.value)
    assert "data.on_missing: skip" in str(caught.value)
    skipping = TableLayout(files, LayoutSettings(on_missing="skip"))
    assert [r.sample_id for r in skipping.records()] == ["img/0.png"]
    assert "left out" in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "../x.png",
        "/etc/passwd",
        "a/../../x.png",
        "C:\\x.png",
        "s3://b/x.png",
        "~/x.png",
        "..\\x.png",
    ],
)
def test_names_that_lead_out(files: Path, name: str) -> None:
    save(files.parent / "x.png", picture(discs(0), 0))
    with pytest.raises(DatasetError, match="outside the data root is named") as caught:
        table(files, f"image,mask\nimg/0.png,{name}\n").records()
    assert "line 2" in str(caught.value)
    assert "relative to the file that names them" in str(caught.value)


def test_links_that_lead_out(files: Path) -> None:
    outside = save(files.parent / "outside" / "x.png", picture(discs(0), 0))
    os.symlink(outside, files / "truth" / "link.png")
    os.symlink(outside.parent, files / "folder")
    for name in ("truth/link.png", "folder/x.png"):
        with pytest.raises(DatasetError, match="outside the data root is named"):
            table(files, f"image,mask\nimg/0.png,{name}\n").records()


@pytest.mark.parametrize(
    ("rows", "what", "found"),
    [
        (["a,b,train,1", "a,b,val,1"], "different things about one image", "split val, case 1"),
        (["a,b,train,1", "a,b,train,2"], "different things about one image", "as in pairs.csv"),
        (["a,b,sometimes,1"], "a word for a split that is not known", "'sometimes'"),
    ],
)
def test_contradictions(files: Path, rows: list[str], what: str, found: str) -> None:
    text = "image,mask,split,case\n" + "\n".join(rows) + "\n"
    text = text.replace("a,b", "img/0.png,truth/0.png")
    with pytest.raises(DatasetError, match=what) as caught:
        table(files, text).records()
    assert found in str(caught.value)


def test_a_row_without_its_class(files: Path) -> None:
    text = "image,mask,class\nimg/0.png,truth/0_disc.png,disc\nimg/1.png,truth/1_disc.png,\n"
    with pytest.raises(DatasetError, match="a row of the table has no class") as caught:
        table(files, text).records()
    assert "1_disc.png" in str(caught.value)


def test_rows_that_are_there_twice(files: Path, caplog) -> None:
    text = "image,mask\n" + "img/0.png,truth/0.png\n" * 3
    assert len(table(files, text).records()[0].labels) == 1
    assert "2 rows say what another row says already" in caplog.text


def test_other_tables_are_none(files: Path) -> None:
    for name, text in {
        "a.csv": "image,label\nimg/0.png,cat\n",  # classes of whole images
        "b.csv": "name,size\nx,1\n",
        "c.csv": "image,mask\n",
    }.items():
        (files / name).write_text(text)
    assert TableLayout.recognise(Listing.of(files)) is None
    (files / "a.csv").unlink()
    with pytest.raises(DatasetError, match="no table of images and masks"):
        TableLayout(files, LayoutSettings()).records()
    with pytest.raises(DatasetError, match="names no image"):
        TableLayout(files, LayoutSettings(labels="c.csv")).records()
    with pytest.raises(ConfigError, match="images are chosen by the table"):
        TableLayout(files, LayoutSettings(images=("*.png",))).records()


def test_many_rows_take_little_memory(files: Path) -> None:
    # One image, so that the rows and not their records are what is measured.
    layout = table(files, "image,mask\n" + "img/0.png,truth/0.png\n" * 10_000)
    tracemalloc.start()
    assert len(layout.records()) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
