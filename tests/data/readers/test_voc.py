"""Masks, names and lists in the manner of Pascal VOC."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samft.data.layouts.voc_truth import VocTruth, read_voc_truth
from samft.data.readers.voc import (
    VOC_NAMES,
    VocNames,
    read_class_names,
    read_image_list,
    read_stated_size,
    voc_colour,
)
from samft.errors import DatasetError

NAMES = VocNames(by_value={1: "cat", 2: "dog"})
INDEX = {"cat": 0, "dog": 1}
CLASSES = np.zeros((10, 12), np.uint8)
CLASSES[1:4, 1:9] = 1
CLASSES[6:9, 1:5] = 2
CLASSES[4, 1:9] = 255
OBJECTS = np.zeros((10, 12), np.uint8)
OBJECTS[1:4, 1:5] = 1  # two cats that touch
OBJECTS[1:4, 5:9] = 2
OBJECTS[6:9, 1:5] = 3
OBJECTS[4, 1:9] = 255


def save(path: Path, values: np.ndarray, *, colours: bool = False) -> Path:
    """Write a mask with VOC's palette, or in its colours."""
    image = Image.fromarray(values, "P")
    palette = [voc_colour(value) for value in range(255)] + [(224, 224, 192)]
    image.putpalette([channel for colour in palette for channel in colour])
    (image.convert("RGB") if colours else image).save(path)
    return path


def read(folder: Path, index: dict[str, int] | None = None, *, objects: bool = True) -> VocTruth:
    return read_voc_truth(
        save(folder / "c.png", CLASSES),
        save(folder / "o.png", OBJECTS) if objects else None,
        NAMES,
        INDEX if index is None else index,
    )


def test_the_colours_are_those_of_the_development_kit() -> None:
    assert [voc_colour(value) for value in (0, 1, 2, 8, 15, 20, 255)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (64, 0, 0), (192, 128, 128), (0, 64, 128),
        (224, 224, 192),
    ]  # fmt: skip
    assert len({voc_colour(value) for value in range(256)}) == 256


def test_objects_with_their_classes_and_void(tmp_path: Path) -> None:
    truth = read(tmp_path)
    found = truth.objects("component")
    assert truth.size == (10, 12)
    assert found.object_class.tolist() == [0, 0, 1]
    assert [int((found.layers == k + 1).sum()) for k in range(3)] == [12, 12, 12]
    assert np.array_equal(found.layers[0] == -1, CLASSES == 255)
    assert truth.objects("class").object_class.tolist() == [0, 1]
    part = truth.objects("component", window=(0, 4, 10, 4))
    assert part.layers.shape == (1, 10, 4)
    assert part.object_class.tolist() == [0, 0, 1]


def test_classes_alone_are_taken_apart_by_connection(tmp_path: Path) -> None:
    found = read(tmp_path, objects=False).objects("component")
    assert found.object_class.tolist() == [0, 1]
    assert int((found.layers == 1).sum()) == 24


def test_only_the_classes_that_count(tmp_path: Path) -> None:
    found = read(tmp_path, {"dog": 0}).objects("component")
    assert found.object_class.tolist() == [0]
    assert int((found.layers == 1).sum()) == 12
    assert int((found.layers == -1).sum()) == 8


def test_a_class_without_object_is_taken_by_pieces(tmp_path: Path) -> None:
    classes = CLASSES.copy()
    classes[6:9, 8:11] = 2
    truth = read_voc_truth(
        save(tmp_path / "c.png", classes), save(tmp_path / "o.png", OBJECTS), NAMES, INDEX
    )
    found = truth.objects("component")
    assert found.object_class.tolist() == [0, 0, 1, 1]
    last = found.layers[found.object_layer[3]] == 4
    assert np.array_equal(np.argwhere(last).min(axis=0), [6, 8])
    assert last.sum() == 9


def test_masks_in_colours_and_arrays_say_the_same(tmp_path: Path) -> None:
    expected = read(tmp_path).objects("component")
    in_colours = read_voc_truth(
        save(tmp_path / "cc.png", CLASSES, colours=True),
        save(tmp_path / "oc.png", OBJECTS, colours=True),
        NAMES,
        INDEX,
    ).objects("component")
    assert sorted(in_colours.object_class) == sorted(expected.object_class)
    assert np.array_equal(in_colours.layers > 0, expected.layers > 0)
    assert np.array_equal(in_colours.layers < 0, expected.layers < 0)
    classes = np.where(CLASSES == 255, -1, CLASSES.astype(np.int32))
    np.save(tmp_path / "c.npy", classes)
    np.save(tmp_path / "o.npy", np.where(OBJECTS == 255, 0, OBJECTS.astype(np.int32)))
    arrays = read_voc_truth(tmp_path / "c.npy", tmp_path / "o.npy", NAMES, INDEX)
    assert np.array_equal(arrays.objects("component").layers, expected.layers)


def test_more_objects_than_a_palette_has(tmp_path: Path) -> None:
    objects = np.arange(1, 90_001, dtype=np.int32).reshape(300, 300)
    np.save(tmp_path / "o.npy", objects)
    np.save(tmp_path / "c.npy", np.where(objects % 2 == 1, 1, 2))
    truth = read_voc_truth(tmp_path / "c.npy", tmp_path / "o.npy", NAMES, INDEX)
    found = truth.objects("component")
    assert found.object_class.tolist() == [0, 1] * 45_000
    assert np.array_equal(found.layers[0], objects)


def test_an_object_has_the_class_of_most_of_its_pixels(tmp_path: Path) -> None:
    classes = CLASSES.copy()
    classes[1, 1:3] = 2
    classes[2:4, 5:9] = 0  # the object reaches beyond its class
    truth = read_voc_truth(
        save(tmp_path / "c.png", classes), save(tmp_path / "o.png", OBJECTS), NAMES, INDEX
    )
    assert truth.objects("component").object_class.tolist() == [0, 0, 1]


def test_cvats_labelmap(tmp_path: Path) -> None:
    path = tmp_path / "labelmap.txt"
    path.write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\ndog:51,221,255::\n"
    )
    names = read_class_names(path)
    assert dict(names.by_value) == {1: "cat", 2: "dog"}
    colours = np.zeros((4, 6, 3), np.uint8)
    colours[:2, :2], colours[2:, 3:] = (250, 50, 83), (51, 221, 255)
    objects = np.zeros((4, 6, 3), np.uint8)
    objects[:2, :2], objects[2:, 3:] = (128, 0, 0), (0, 0, 255)
    Image.fromarray(colours).save(tmp_path / "c.png")
    Image.fromarray(objects).save(tmp_path / "o.png")
    found = read_voc_truth(tmp_path / "c.png", tmp_path / "o.png", names, INDEX).objects("value")
    assert sorted(found.object_class.tolist()) == [0, 1]
    colours[0, 5] = (1, 2, 3)
    Image.fromarray(colours).save(tmp_path / "c.png")
    with pytest.raises(DatasetError, match="a colour that no class has") as caught:
        read_voc_truth(tmp_path / "c.png", None, names, INDEX)
    assert caught.value.found == "RGB (1, 2, 3)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_background_\ncat\ndog", {1: "cat", 2: "dog"}),
        ("__ignore__\n_background_\ncat\ndog\n", {1: "cat", 2: "dog"}),
        ("\ufeffcat\r\ndog\r\n\n", {1: "cat", 2: "dog"}),
    ],
)
def test_lists_of_names(tmp_path: Path, text: str, expected: dict[int, str]) -> None:
    path = tmp_path / "class_names.txt"
    path.write_text(text, encoding="utf-8")
    assert dict(read_class_names(path).by_value) == expected
    assert len(VOC_NAMES) == 20


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_names.txt", "cat\ncat\n"),
        ("class_names.txt", "_background_\n"),
        ("labelmap.txt", "cat:red::\n"),
        ("labelmap.txt", "cat:1,2,3::\ndog:1,2,3::\n"),
    ],
)
def test_wrong_lists_of_names(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_class_names(path)
    assert caught.value.where == path


def test_lists_of_images(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("2007_000032\n2007_000039  1\n\n2007_000032\n")
    assert read_image_list(path) == ("2007_000032", "2007_000039")


def test_the_size_in_an_annotation(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    text = (
        "<annotation><filename>a.jpg</filename><size><width>500</width><height>375</height>"
        "<depth>3</depth></size><segmented>1</segmented><object><name>cat</name><difficult>0"
        "</difficult><bndbox><xmin>1</xmin></bndbox></object></annotation>"
    )
    path.write_text(text)
    assert read_stated_size(path) == (375, 500)
    path.write_text(text.replace("500", "0"))
    assert read_stated_size(path) is None
    path.write_text("<annotations/>")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_stated_size(path)


def test_values_without_name_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "c.png", np.full((3, 3), 7, np.uint8))
    with pytest.raises(DatasetError, match="no class name") as caught:
        read_voc_truth(path, None, NAMES, INDEX)
    assert caught.value.where == path
    assert caught.value.found == "7"
    assert "1 cat, 2 dog" in str(caught.value.expected)
    assert "class_names.txt" in str(caught.value.fix)


def test_masks_of_different_sizes_are_refused(tmp_path: Path) -> None:
    classes, objects = save(tmp_path / "c.png", CLASSES), save(tmp_path / "o.png", OBJECTS[:-1])
    with pytest.raises(DatasetError, match="sizes differ") as caught:
        read_voc_truth(classes, objects, NAMES, INDEX)
    assert caught.value.where == objects


@pytest.mark.parametrize("content", [np.zeros((3, 3, 2), np.int32), np.zeros((3, 3)),
                                     np.full((3, 3), -2), np.zeros((0, 3), np.int32)])  # fmt: skip
def test_arrays_that_are_no_masks(tmp_path: Path, content: np.ndarray) -> None:
    np.save(tmp_path / "c.npy", content)
    with pytest.raises(DatasetError) as caught:
        read_voc_truth(tmp_path / "c.npy", None, NAMES, INDEX)
    assert caught.value.where == tmp_path / "c.npy"


@pytest.mark.parametrize("lie", [b"(99999, 99999), ", b"(99999999, 9999999), ", b"(30, 30"])
def test_an_array_with_a_lying_header(tmp_path: Path, lie: bytes) -> None:
    path = tmp_path / "c.npy"
    np.save(path, np.zeros((30, 30), np.int32))
    content = path.read_bytes()
    start, end = content.index(b"(30, 30)"), content.index(b"\n")
    header = content[:start] + lie + b"}"
    path.write_bytes(header.ljust(end) + content[end:])
    with pytest.raises(DatasetError) as caught:
        read_voc_truth(path, None, NAMES, INDEX)
    assert caught.value.where == path


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.npy"
    np.save(path, np.array([[{}, 1]], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_voc_truth(path, None, NAMES, INDEX)
