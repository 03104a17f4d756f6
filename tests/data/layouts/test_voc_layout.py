"""Folders in the manner of Pascal VOC."""

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.listing import Listing
from samft.data.layouts.voc import VocLayout
from samft.data.readers.voc import VOC_NAMES, voc_colour
from samft.errors import ConfigError, DatasetError

PALETTE = [channel for value in range(256) for channel in voc_colour(value)]


def mask(path: Path, *values: int, size: tuple[int, int] = (20, 30)) -> None:
    """Write a palette PNG with a square of each value, and a border of void around the first."""
    pixels = np.zeros(size, np.uint8)
    pixels[1:9, 1:9] = 255
    for number, value in enumerate(values):
        pixels[2:8, 2 + 9 * number : 8 + 9 * number] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels, "P")
    image.putpalette(PALETTE)
    image.save(path)


def entry(base: Path, name: str, *classes: int, objects: bool = True) -> None:
    path = base / f"JPEGImages/{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 20)).save(path)
    if classes:
        mask(base / f"SegmentationClass/{name}.png", *classes)
        if objects:
            mask(base / f"SegmentationObject/{name}.png", *range(1, len(classes) + 1))


def lists(base: Path, **names: str) -> None:
    folder = base / "ImageSets/Segmentation"
    folder.mkdir(parents=True)
    for name, images in names.items():
        (folder / f"{name}.txt").write_text("\n".join(images.split()) + "\n")


def layout_of(root: Path, **settings: Any) -> VocLayout:
    return VocLayout(root, LayoutSettings(**settings))


def test_voc_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = tmp_path / "VOCdevkit/VOC2012"
    entry(base, "2007_000032", 1, 15, 15)
    entry(base, "2007_000039", 20)
    entry(base, "2007_000063", 8, 12)
    entry(base, "2008_000001")  # for detection only
    lists(base, train="2007_000032 2007_000063", val="2007_000039", test="2012_000009",
          trainval="2007_000032 2007_000039 2007_000063")  # fmt: skip
    (base / "Annotations").mkdir()
    for name in ("2007_000032", "2008_000001"):
        (base / f"Annotations/{name}.xml").write_text(
            "<annotation><size><width>30</width><height>20</height></size></annotation>"
        )
    assert "JPEGImages" in str(VocLayout.recognise(Listing.of(tmp_path)))
    layout = layout_of(tmp_path)
    with caplog.at_level(logging.INFO):
        records = layout.records()
    assert "images without mask, left out: 1" in caplog.text
    assert [(Path(r.sample_id).stem, r.split) for r in records] == [
        ("2007_000032", "train"),
        ("2007_000039", "val"),
        ("2007_000063", "train"),
    ]
    assert layout.class_names == VOC_NAMES
    again = pickle.loads(pickle.dumps(layout))
    found = [again.truth(record).objects("component") for record in records]
    named = [[VOC_NAMES[index] for index in item.object_class] for item in found]
    assert named == [["aeroplane", "person", "person"], ["tvmonitor"], ["cat", "dog"]]
    assert int((found[0].layers == -1).sum()) == 64 - 36
    layout.check(records)


def test_a_wrong_size_in_an_annotation_is_found(tmp_path: Path) -> None:
    entry(tmp_path, "a", 1)
    marks = tmp_path / "Annotations/a.xml"
    marks.parent.mkdir()
    marks.write_text("<annotation><size><width>31</width><height>20</height></size></annotation>")
    layout = layout_of(tmp_path)
    with pytest.raises(DatasetError, match="sizes differ") as caught:
        layout.check(layout.records())
    assert caught.value.where == marks


def test_labelme_s_export(tmp_path: Path) -> None:
    entry(tmp_path, "a", 1, 2)
    for kind in ("Class", "Object"):
        (tmp_path / f"Segmentation{kind}").rename(tmp_path / f"Segmentation{kind}PNG")
        (tmp_path / f"Segmentation{kind}").mkdir()
        np.save(tmp_path / f"Segmentation{kind}/a.npy", np.zeros((20, 30), np.int32))
    (tmp_path / "class_names.txt").write_text("_background_\ncell\nnerve")
    layout = layout_of(tmp_path)
    (record,) = layout.records()
    assert [path.parent.name for path in record.labels] == [
        "SegmentationClassPNG",
        "SegmentationObjectPNG",
    ]
    assert layout.class_names == ("cell", "nerve")
    assert layout.truth(record).objects("component").object_class.tolist() == [0, 1]


def test_arrays_alone(tmp_path: Path) -> None:
    entry(tmp_path, "a")
    values = np.zeros((20, 30), np.int32)
    values[2:8, 2:8], values[10:12, 2:8] = 2, -1
    (tmp_path / "SegmentationClassNpy").mkdir()
    np.save(tmp_path / "SegmentationClassNpy/a.npy", values)
    (tmp_path / "class_names.txt").write_text("_background_\ncell\nnerve")
    layout = layout_of(tmp_path)
    records = layout.records()
    objects = layout.truth(records[0]).objects("component")
    assert objects.object_class.tolist() == [1]
    assert int((objects.layers == -1).sum()) == 12
    layout.check(records)


@pytest.mark.parametrize(
    ("classes", "names", "expected"),
    [
        (["person", "cat"], ("person", "cat"), [0, 0]),
        ({1: "tyre", 15: "car"}, ("tyre", "car"), [0, 1, 1]),
        (["background", *(f"c{i}" for i in range(1, 16))], None, [0, 14, 14]),
    ],
)
def test_the_user_s_classes(
    tmp_path: Path, classes: Any, names: tuple[str, ...] | None, expected: list[int]
) -> None:
    entry(tmp_path, "a", 1, 15, 15)
    first = 0 if names is None else 1
    layout = layout_of(tmp_path, classes=classes, first_value=first)
    (record,) = layout.records()
    assert layout.class_names == (names or tuple(f"c{i}" for i in range(1, 16)))
    assert layout.truth(record).objects("component").object_class.tolist() == expected


def test_a_class_that_the_names_do_not_have(tmp_path: Path) -> None:
    entry(tmp_path, "a", 1)
    (tmp_path / "class_names.txt").write_text("_background_\ncell\nnerve")
    with pytest.raises(ConfigError, match="no class of the masks has this name") as caught:
        layout_of(tmp_path, classes=["cel"]).records()
    assert "did you mean 'cell'" in str(caught.value.fix)


def test_lists_that_do_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry(tmp_path, "a", 1)
    entry(tmp_path, "b", 1)
    entry(tmp_path, "c", 1)
    lists(tmp_path, train="a gone", val="b")
    with pytest.raises(DatasetError, match="1 listed image has no class mask") as caught:
        layout_of(tmp_path).records()
    assert "JPEGImages/gone" in str(caught.value.found)
    with caplog.at_level(logging.INFO):
        records = layout_of(tmp_path, on_missing="skip").records()
    assert [record.split for record in records] == ["train", "val"]
    assert "masks in no list, left out: 1" in caplog.text
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text("a\n")
    with pytest.raises(DatasetError, match="in two splits") as caught:
        layout_of(tmp_path).records()
    assert "a is in train and val" in str(caught.value.found)


@pytest.mark.parametrize("name", ["/etc/passwd", "../b", "x/../../b", "..\\b", "a\0"])
def test_lists_that_lead_out(tmp_path: Path, name: str) -> None:
    entry(tmp_path, "a", 1)
    lists(tmp_path, train=f"a {name}")
    with pytest.raises(DatasetError, match="names an image outside the data folder") as caught:
        layout_of(tmp_path, on_missing="skip").records()
    assert caught.value.where == tmp_path / "ImageSets/Segmentation/train.txt"
    assert caught.value.found == repr(name)
    assert caught.value.fix == "take the line out of the list"


def test_without_a_list_for_training_there_are_no_splits(tmp_path: Path) -> None:
    entry(tmp_path, "a", 1)
    entry(tmp_path, "b", 1)
    lists(tmp_path, default="a b", trainval="a")
    assert [record.split for record in layout_of(tmp_path).records()] == [None, None]


def test_masks_without_image_and_of_another_size(tmp_path: Path) -> None:
    entry(tmp_path, "a", 1)
    mask(tmp_path / "SegmentationClass/b.png", 1)
    with pytest.raises(DatasetError, match="1 class mask has no image"):
        layout_of(tmp_path).records()
    (tmp_path / "SegmentationClass/b.png").unlink()
    mask(tmp_path / "SegmentationClass/a.png", 1, size=(20, 31))
    mask(tmp_path / "SegmentationObject/a.png", 1, size=(20, 31))
    layout = layout_of(tmp_path)
    records = layout.records()
    for look in (lambda: layout.truth(records[0]), lambda: layout.check(records)):
        with pytest.raises(DatasetError, match="sizes differ"):
            look()


def test_masks_of_a_pattern(tmp_path: Path) -> None:
    entry(tmp_path, "a", 1)
    entry(tmp_path, "b", 1)
    mask(tmp_path / "SegmentationClassAug/a.png", 1, 2)
    layout = layout_of(tmp_path, labels="SegmentationClassAug/*.png")
    (record,) = layout.records()
    assert record.labels[0].parent.name == "SegmentationClassAug"
    mask(tmp_path / "elsewhere/x/a.png", 1)
    with pytest.raises(DatasetError, match="in no folder beside JPEGImages") as caught:
        layout_of(tmp_path / "elsewhere", labels="x/*.png").records()
    assert caught.value.where == tmp_path / "elsewhere/x/a.png"


def test_files_that_cannot_be_told_or_lie_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "data"
    entry(root, "a", 1)
    other = root / "JPEGImages/a.png"
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    other.symlink_to(root / "JPEGImages/a.jpg")
    with pytest.raises(DatasetError, match="same name but for its ending") as caught:
        layout_of(root).records()
    assert caught.value.found == "a.jpg, a.png"
    other.unlink()
    (root / "JPEGImages/a.jpg").unlink()
    other.symlink_to(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="leads out of the data folder") as caught:
        layout_of(root).records()
    assert caught.value.where == other


def test_what_is_not_voc(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    Image.new("RGB", (3, 3)).save(tmp_path / "JPEGImages/a.jpg")
    assert VocLayout.recognise(Listing.of(tmp_path)) is None
    with pytest.raises(DatasetError, match="no folder is in the manner of Pascal VOC") as caught:
        layout_of(tmp_path).records()
    assert caught.value.where == tmp_path
    assert "SegmentationClass" in str(caught.value.expected)


def test_labelme_s_own_export(real_data: Path) -> None:
    root = real_data / "general/labelme_examples/instance_segmentation/data_dataset_voc"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    layout = layout_of(root)
    records = layout.records()
    found = [layout.truth(record).objects("component") for record in records]
    assert [item.object_class.size for item in found] == [3, 6, 3]
    assert [int((item.layers == -1).any(axis=0).sum()) for item in found] == [9460, 909, 0]
    assert layout.class_names[-2:] == ("train", "tv/monitor")
    layout.check(records)
