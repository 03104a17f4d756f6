"""COCO files as many programs write them: every form of outline, and what must be refused."""

import json
import re
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from samft.data.objects import Objects, from_masks
from samft.data.readers.coco import (
    BOXES_ONLY,
    ORPHANS,
    REPEATED,
    classes_of,
    looks_like_coco,
    read_coco,
)
from samft.data.readers.coco_writer import write_coco
from samft.data.readers.segmentation import pack, unpack
from samft.data.shapes import OUTSIDE, TOO_FEW_POINTS, ShapeTruth
from samft.errors import DatasetError, OutputError
from samft.types import IGNORE

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]
IMAGE = {"id": 7, "file_name": "a.png", "height": 20, "width": 30}


def annotation(segmentation=None, **changes):
    entry = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16,
             "iscrowd": 0}  # fmt: skip
    entry["segmentation"] = [SQUARE] if segmentation is None else segmentation
    return entry | changes


def write(path: Path, *annotations, images=None, categories=None, **more) -> Path:
    document = {
        "info": {"year": 2017},
        "licenses": [],
        "images": [IMAGE] if images is None else images,
        "annotations": list(annotations),
        "categories": [{"id": 3, "name": "fish", "supercategory": "animal"}]
        if categories is None
        else categories,
    }
    path.write_text(json.dumps(document | more))
    return path


def refused(path: Path) -> str:
    with pytest.raises(DatasetError) as error:
        read_coco(path)
    text = str(error.value)
    assert str(path) in text
    assert len(text.splitlines()) <= 3
    return text


def area(file, row=0, size=(20, 30)) -> list[int]:
    index = {name: n for n, name in enumerate(file.class_names)}
    objects = ShapeTruth(file.shapes(row), size, index).objects("component")
    return [
        int((objects.layers[layer] == k + 1).sum()) for k, layer in enumerate(objects.object_layer)
    ]


def square_mask() -> np.ndarray:
    mask = np.zeros((20, 30), np.uint8)
    mask[1:5, 1:5] = 1
    return np.asfortranarray(mask)


def test_every_form_of_outline(tmp_path) -> None:
    compressed = coco_mask.encode(square_mask())
    counts = [21, 4, 16, 4, 16, 4, 16, 4, 515]
    forms = [
        [SQUARE],
        SQUARE,  # the list around it forgotten
        [[1, 1], [5, 1], [5, 5], [1, 5]],  # points in pairs
        [[[1, 1], [5, 1], [5, 5], [1, 5]]],
        [SQUARE, [10.5, 10, 12, 10, 12.0, 12]],
        {"size": [20, 30], "counts": compressed["counts"].decode()},
        {"size": [20, 30], "counts": counts},
        {"size": [20, 30], "counts": counts[:-1]},  # without the background at the end
    ]
    entries = [annotation(form, id=n) for n, form in enumerate(forms)]
    file = read_coco(write(tmp_path / "a.json", *entries))
    extra = int(coco_mask.decode(coco_mask.frPyObjects([forms[4][1]], 20, 30)).sum())
    found = area(file)
    assert found == [16, 16, 16, 16, 16 + extra, 16, 16, 16]
    assert not file.left_out
    assert file.class_names == ("fish",)
    assert file.size(0) == (20, 30)


def test_crowds_are_unknown(tmp_path) -> None:
    rle = {"size": [20, 30], "counts": [0, 40, 560]}
    file = read_coco(write(tmp_path / "a.json", annotation(), annotation(rle, iscrowd=1, id=2)))
    assert [shape.unknown for shape in file.shapes(0)] == [False, True]
    objects = ShapeTruth(file.shapes(0), (20, 30), {"fish": 0}).objects("component")
    assert int((objects.layers == IGNORE).sum()) == 40 - 4


def test_ids_of_any_kind_and_order(tmp_path) -> None:
    images = [{**IMAGE, "id": n, "file_name": f"{n}.png"} for n in (900, 5, "31", "uuid-1")]
    entries = [annotation(id=i, image_id=n) for i, n in enumerate(["uuid-1", 5.0, "900", 31, 5])]
    file = read_coco(write(tmp_path / "a.json", *entries, images=images))
    assert [len(file.shapes(row)) for row in range(4)] == [1, 2, 1, 1]
    assert file.file_names == ("900.png", "5.png", "31.png", "uuid-1.png")


def test_what_is_left_out_is_counted(tmp_path) -> None:
    entries = [
        annotation(),
        annotation(id=2, segmentation=[]),
        annotation(id=3, segmentation=[[1, 1, 5, 5]]),
        annotation(id=4, segmentation=[[1, 1, 5, 5], SQUARE]),
        annotation(id=5, image_id=99),
        annotation(id=6, segmentation=[[40, 1, 50, 1, 50, 9]]),
        annotation(id=1),
        {key: v for key, v in annotation(id=8).items() if key != "segmentation"},
        annotation(id=9, segmentation=[[-9, -9, 2, -9, 2, 2, -9, 2]]),
    ]
    file = read_coco(write(tmp_path / "a.json", *entries))
    assert file.left_out == Counter(
        {BOXES_ONLY: 2, TOO_FEW_POINTS: 2, ORPHANS: 1, OUTSIDE: 1, REPEATED: 1}
    )
    assert area(file) == [16, 16, 4]


def test_two_annotations_with_one_id_both_count(tmp_path) -> None:
    other = annotation([[10, 10, 14, 10, 14, 14, 10, 14]])
    assert area(read_coco(write(tmp_path / "a.json", annotation(), other))) == [16, 16]


def test_boxes_alone_are_refused(tmp_path) -> None:
    text = refused(write(tmp_path / "a.json", annotation([]), annotation([], id=2)))
    assert "boxes but no outlines" in text
    assert "2 annotations without segmentation" in text
    assert "fix: export the annotations again as instance segmentation" in text


def test_sizes_may_be_missing(tmp_path) -> None:
    images = [{"id": 7, "file_name": "a.png"}, {**IMAGE, "id": 8, "height": None},
              {**IMAGE, "id": 9, "height": "20", "width": 30.0}]  # fmt: skip
    with pytest.raises(DatasetError, match="pixels"):
        read_coco(write(tmp_path / "a.json", annotation(), images=images))
    images[2]["width"] = "30"
    file = read_coco(write(tmp_path / "b.json", annotation(), images=images))
    assert [file.size(row) for row in range(3)] == [None, None, (20, 30)]


def test_classes(tmp_path) -> None:
    categories = [
        {"id": 0, "name": "Animal", "supercategory": "none"},
        {"id": 1, "name": "_background_", "supercategory": None},
        {"id": 3, "name": "fish", "supercategory": "animal"},
        {"id": 4, "name": "fish", "supercategory": "animal"},
        {"id": 9, "name": "crab", "supercategory": "animal"},
    ]
    first = read_coco(write(tmp_path / "a.json", annotation(), annotation(id=2, category_id=4),
                            categories=categories))  # fmt: skip
    categories[0]["name"] = "eel"
    second = read_coco(
        write(tmp_path / "b.json", annotation(category_id=0), categories=categories[::-1])
    )
    assert classes_of([first]) == ("fish", "crab")
    assert classes_of([first, second]) == ("fish", "crab", "eel")
    assert {shape.class_name for shape in first.shapes(0)} == {"fish"}


def test_without_categories_all_are_objects(tmp_path) -> None:
    file = read_coco(write(tmp_path / "a.json", annotation(category_id=None), categories=[]))
    assert file.class_names == ("object",)
    assert area(file) == [16]


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (annotation([[1, 2, 3, 4, 5, float("nan")]]), "no number"),
        (annotation([[1, 2, 3, 4, 5, float("inf")]]), "no number"),
        (annotation([[1, 2, 3, 4, 5]]), "a polygon of 5 numbers"),
        (annotation([["a", "b", 1, 2, 3, 4]]), "something else than numbers"),
        (annotation([[1, 2, 3, 4, 5, 10**400]]), "something else than numbers"),
        (annotation([{"x": 1}]), "something else|dict"),
        (annotation("text"), "str as segmentation"),
        (annotation([[[1, 2, 3], [1, 2, 3], [3, 4, 4]]]), "something else than numbers"),
        (annotation({"size": [20, 30]}), "NoneType instead of run lengths"),
        (annotation({"size": [20], "counts": "x"}), r"size \[20\]"),
        (annotation({"size": [2**40, 2**40], "counts": [1]}), "run lengths of size"),
        (annotation({"size": [20, 30], "counts": [1, 2, 3]}), "6 pixels together, 600"),
        (annotation({"size": [21, 30], "counts": "x"}), "not of the image's size"),
        (annotation(category_id=77), "category that is not listed"),
        (annotation(iscrowd=2), "iscrowd 2"),
        (annotation(image_id=[1]), "as image_id"),
        ({"id": 3, "bbox": [1, 2, 3, 4]}, "annotation 1 without image_id"),
        ("text", "annotation 1 without image_id"),
    ],
)
def test_damaged_annotations(tmp_path, entry, found) -> None:
    assert re.search(found, refused(write(tmp_path / "a.json", entry)))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"images": [IMAGE, {**IMAGE, "file_name": "b.png"}]}, "id 7: a.png and b.png"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "id 1: a and b"),
        ({"images": [{"id": 1, "height": 3}]}, "image 1 without id and file_name"),
        ({"images": [{**IMAGE, "file_name": 3}]}, "image 1 without id and file_name"),
        ({"images": {"7": IMAGE}}, "an object under 'images'"),
        ({"images": [{**IMAGE, "height": -3}]}, "a.png of -3 x 30"),
        ({"categories": ["fish"]}, "a category without id and name"),
        ({"annotations": None}, "nothing under 'annotations'"),
    ],
)
def test_damaged_lists(tmp_path, changes, found) -> None:
    assert found in refused(write(tmp_path / "a.json", annotation(), **changes))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"\xff\xfe{}", b"[" * 100_000, b'{"images": [1e999', b"null"]
)
def test_no_json(tmp_path, content) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    refused(path)


def test_too_large(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "a.json", annotation())
    monkeypatch.setenv("SAMFT_MAX_BYTES", "100")
    assert "more memory than allowed" in refused(path)


def test_a_million_points(tmp_path) -> None:
    rng = np.random.default_rng(0)
    ring = np.round(rng.uniform(0, 20, 2_000_000), 1).tolist()
    file = read_coco(write(tmp_path / "a.json", annotation([ring])))
    with pytest.raises(DatasetError, match="too long"):
        area(file)


def test_byte_order_mark(tmp_path) -> None:
    path = write(tmp_path / "a.json", annotation())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert looks_like_coco(path)
    assert area(read_coco(path)) == [16]


def test_what_looks_like_it(tmp_path) -> None:
    path = tmp_path / "a.json"
    others = [
        {"image": {"file_name": "a"}, "annotations": [{"segmentation": {}}]},  # SA-1B
        {"images": [IMAGE], "annotations": [{"image_id": 1, "caption": "a"}]},
        {"images": [IMAGE], "categories": [], "info": 1},  # image_info_test
        {"images": [IMAGE], "annotations": [{"segments_info": [], "category_id": 1}],
         "categories": []},  # panoptic
        [{"image_id": 1, "category_id": 1, "segmentation": {}}],  # results
        {"shapes": [], "imagePath": "a.png", "imageHeight": 3},
    ]  # fmt: skip
    for other in others:
        path.write_text(json.dumps(other))
        assert not looks_like_coco(path), other
    many = [annotation([SQUARE * 500], id=n) for n in range(100)]
    assert looks_like_coco(write(tmp_path / "b.json", *many))
    document = json.loads((tmp_path / "b.json").read_text())
    path.write_text(json.dumps(document, sort_keys=True, indent=1))
    assert path.stat().st_size > 1_000_000
    assert looks_like_coco(path)
    assert not looks_like_coco(tmp_path / "missing.json")


def test_pycocotools_sees_the_same(tmp_path) -> None:
    rng = np.random.default_rng(4)
    entries = [
        annotation([rng.uniform(-5, 35, 2 * n).round(2).tolist() for n in sides], id=k + 1)
        for k, sides in enumerate([(3,), (7, 4), (12,), (5, 5, 5)])
    ]
    path = write(tmp_path / "a.json", *entries)
    oracle = COCO(str(path))
    file = read_coco(path)
    objects = ShapeTruth(file.shapes(0), (20, 30), {"fish": 0}).objects("value")
    expected = [oracle.annToMask(oracle.anns[k]).astype(bool) for k in range(1, 5)]
    found = [objects.layers[layer] == k + 1 for k, layer in enumerate(objects.object_layer)]
    assert len(found) == 4
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_packing_is_exact() -> None:
    rings = [[0.1, 2.7, 3.3, 4.9, 1e-9, 7.25], [1.0, 2, 3, 4, 5, 6, 7, 8]]
    outline = unpack(pack(rings).data)
    assert [ring.reshape(-1).tolist() for ring in outline.rings] == rings
    assert pack(rings).box == (2.0, 1e-9, 8.0, 7.0)


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.int8, (3, 12, 9), elements=st.integers(-1, 4)))
def test_layers_to_coco_to_layers(tmp_path_factory, arrays) -> None:
    path = tmp_path_factory.mktemp("round") / "a.json"
    written = [objects_of(array) for array in arrays]
    names = [f"{n}.png" for n in range(3)]
    write_coco(path, names, objects=written, class_names=["a", "b"])
    file = read_coco(path)
    assert file.file_names == tuple(names)
    index = {"a": 0, "b": 1}
    for row, expected in enumerate(written):
        found = ShapeTruth(file.shapes(row), (12, 9), index).objects("value")
        assert np.array_equal(found.layers, expected.layers)
        assert found.object_class.tolist() == expected.object_class.tolist()
        assert found.object_layer.tolist() == expected.object_layer.tolist()


def objects_of(array: np.ndarray) -> Objects:
    values = [v for v in np.unique(array) if v > 0]
    layer = np.zeros(array.shape, np.int32)
    for number, value in enumerate(values, start=1):
        layer[array == value] = number
    layer[array == -1] = IGNORE
    return Objects(
        layers=layer[None],
        object_layer=np.zeros(len(values), np.int64),
        object_class=np.array([v % 2 for v in values], np.int64),
    )


def test_overlapping_objects_to_coco_and_back(tmp_path) -> None:
    masks = np.zeros((3, 20, 30), bool)
    masks[0, :9, :9], masks[1, 5:15, 5:15], masks[2, 14:, 20:] = True, True, True
    written = from_masks(masks, (20, 30))
    write_coco(tmp_path / "a.json", ["a.png"], objects=[written], class_names=["fish"])
    oracle = COCO(str(tmp_path / "a.json"))
    for k in range(3):
        assert np.array_equal(oracle.annToMask(oracle.anns[k + 1]).astype(bool), masks[k])
        assert oracle.anns[k + 1]["area"] == int(masks[k].sum())
        assert oracle.anns[k + 1]["bbox"] == list(coco_mask.toBbox(
            coco_mask.encode(np.asfortranarray(masks[k].astype(np.uint8)))))  # fmt: skip
    file = read_coco(tmp_path / "a.json")
    found = ShapeTruth(file.shapes(0), (20, 30), {"fish": 0}).objects("component")
    assert np.array_equal(found.layers, written.layers)


def test_writer_refuses(tmp_path) -> None:
    one = objects_of(np.ones((3, 3), np.int8))
    with pytest.raises(OutputError, match="not as many\n.*2 images, objects of 1"):
        write_coco(tmp_path / "a.json", ["a", "b"], objects=[one], class_names=["x", "y"])
    with pytest.raises(OutputError, match="class without a name\n.*class 1.*0 to 0"):
        write_coco(tmp_path / "a.json", ["a"], objects=[one], class_names=["x"])
    assert not (tmp_path / "a.json").exists()


def test_memory_is_that_of_the_numbers(tmp_path) -> None:
    ring = [float(n) + 0.25 for n in range(60)]
    images = [{**IMAGE, "id": n, "file_name": f"{n}.png", "height": 90, "width": 90}
              for n in range(200)]  # fmt: skip
    text = json.dumps(annotation([ring]))
    count = 6_000
    path = write(tmp_path / "a.json", images=images)
    body = ",".join(text.replace('"image_id": 7', f'"image_id": {n % 200}')
                    .replace('"id": 1,', f'"id": {n},') for n in range(count))  # fmt: skip
    path.write_text(path.read_text().replace('"annotations": []', f'"annotations": [{body}]'))
    tracemalloc.start()
    file = read_coco(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(file.offsets) == count + 1
    assert held < count * (60 * 8 + 80)
    # The text, and what is packed, twice; parsed whole it would be 2,500 bytes an annotation.
    assert peak < 2.2 * path.stat().st_size + count * 2 * (60 * 8 + 300)
