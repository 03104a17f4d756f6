"""Label Studio's exports: regions in percent, names that are URLs, several annotators."""

import importlib.util
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import samft
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.label_studio import LabelStudioLayout
from samft.data.layouts.listing import Listing
from samft.errors import ConfigError, DatasetError

_FILE = Path(samft.__file__).parent / "export/templates/labelstudio/brush.py"
_SPEC = importlib.util.spec_from_file_location("brush_writer", _FILE)
_BRUSH = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_BRUSH)

SIZE = (40, 80)
TRIANGLE = [[10, 25], [50, 25], [10, 75]]


def picture(root: Path, *names: str, size=SIZE) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / name)


def region(kind="polygonlabels", labels=("Car",), value=None, **more) -> dict:
    value = {"points": TRIANGLE, "closed": True} if value is None else value
    return {
        "id": f"r{len(str(value))}{kind}{labels}", "type": kind, "from_name": "tag",
        "to_name": "img", "original_width": SIZE[1], "original_height": SIZE[0],
        "image_rotation": 0, "origin": "manual", "value": {**value, kind: list(labels)},
    } | more  # fmt: skip


def annotation(*regions: dict, **more) -> dict:
    return {
        "id": 11, "completed_by": 1, "result": list(regions), "was_cancelled": False,
        "ground_truth": False, "created_at": "2024-03-09T22:16:08.728353Z",
        "updated_at": "2024-03-09T22:16:08.728378Z", "lead_time": 4.288, "task": 1,
    } | more  # fmt: skip


def task(image="/data/upload/1/1a2b3c4d-a.png", *annotations: dict, **more) -> dict:
    listed = list(annotations) or [annotation(region())]
    guess = [{"result": [region(labels=["Guess"])], "model_version": "x"}]
    return {
        "id": 1, "data": {"image": image}, "annotations": listed, "predictions": guess,
        "drafts": [], "file_upload": image.rpartition("/")[2], "project": 1,
    } | more  # fmt: skip


def save(root: Path, *tasks: dict, name="project-1-at-2024.json") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(tasks)))
    return path


def layout(root: Path, **settings) -> LabelStudioLayout:
    return LabelStudioLayout(root, LayoutSettings(**settings))


def masks(root: Path, row=0, **settings) -> list[np.ndarray]:
    one = layout(root, **settings)
    objects = one.truth(one.records()[row]).objects("component")
    return [objects.layers[la] == k + 1 for k, la in enumerate(objects.object_layer)]


def refused(root: Path, kind=DatasetError, **settings) -> str:
    with pytest.raises(kind) as error:
        layout(root, **settings).records()
    assert len(str(error.value).splitlines()) <= 3
    return str(error.value)


def box(top, left, bottom, right) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def brush(mask: np.ndarray) -> dict:
    return {"format": "rle", "rle": _BRUSH.mask_to_rle(mask)}


def rectangle(rotation=0) -> dict:
    return {"x": 25, "y": 25, "width": 50, "height": 25, "rotation": rotation}


def test_json(tmp_path) -> None:
    picture(tmp_path, "images/1a2b3c4d-a.png")
    save(tmp_path, task())
    assert "is an export of Label Studio" in LabelStudioLayout.recognise(Listing.of(tmp_path))
    one = layout(tmp_path)
    (record,) = one.records()
    assert record.sample_id == "images/1a2b3c4d-a.png"
    assert one.class_names == ("Car",)  # not the prediction's
    (mask,) = masks(tmp_path)
    assert mask[10:30, 8:40].sum() == mask.sum()
    assert abs(int(mask.sum()) - 32 * 20 / 2) < 12


def test_every_kind_of_region(tmp_path) -> None:
    painted = box(3, 5, 9, 20)
    painted[4:6, 7:9] = False
    picture(tmp_path, "a.png")
    regions = [
        region("brushlabels", ["A"], brush(painted)),
        region("rectanglelabels", ["B"], rectangle()),
        region("ellipselabels", ["C"], {"x": 50, "y": 50, "radiusX": 10, "radiusY": 40}),
        region("vectorlabels", ["D"], {"closed": True, "vertices": [
            {"x": x, "y": y, "isBezier": False} for x, y in ((0, 0), (10, 0), (10, 10), (0, 10))]}),
    ]  # fmt: skip
    save(tmp_path, task("a.png", annotation(*regions)))
    found = masks(tmp_path)
    assert layout(tmp_path).truth(layout(tmp_path).records()[0]).size == SIZE
    assert np.array_equal(found[0], painted)
    assert np.array_equal(found[1], box(10, 20, 20, 60))
    assert np.array_equal(found[3], box(0, 0, 4, 8))
    y, x = np.mgrid[:40, :80] + 0.5
    inside = ((x - 40) / 8) ** 2 + ((y - 20) / 16) ** 2 <= 1
    assert (found[2] ^ inside).sum() < 30
    rows = np.flatnonzero(found[2].any(axis=1))
    assert (rows[0], rows[-1]) == (4, 35)


def test_rectangles_turn_clockwise_about_their_corner(tmp_path) -> None:
    picture(tmp_path, "a.png")
    value = {"x": 50, "y": 25, "width": 25, "height": 25, "rotation": 90}
    save(tmp_path, task("a.png", annotation(region("rectanglelabels", ["B"], value))))
    # 20 wide and 10 high at (40, 10): turned, it hangs down 20 and reaches 10 to the left.
    assert np.array_equal(masks(tmp_path)[0], box(10, 30, 30, 40))


def test_ellipses_turn_about_their_centre(tmp_path) -> None:
    picture(tmp_path, "a.png")
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 90}
    save(tmp_path, task("a.png", annotation(region("ellipselabels", ["B"], value))))
    (mask,) = masks(tmp_path)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (4, 35, 36, 43)


def test_labels_in_an_entry_of_their_own(tmp_path) -> None:
    picture(tmp_path, "a.png")
    shape = region("polygon", [], id="x")
    del shape["value"]["polygon"]
    label = {**region("labels", ["Boat"]), "id": "x"}
    choice = {**region("choices", ["blurred"]), "id": "x"}
    relation = {"from_id": "x", "to_id": "y", "type": "relation", "direction": "right"}
    save(tmp_path, task("a.png", annotation(shape, label, choice, relation)))
    assert layout(tmp_path).records()
    one = layout(tmp_path)
    one.records()
    assert one.class_names == ("Boat",)
    assert len(masks(tmp_path)) == 1


def test_classes(tmp_path) -> None:
    picture(tmp_path, "a.png")
    bare = region(labels=[], id="bare")
    two = region(labels=["Car", "Red"], id="two")
    save(tmp_path, task("a.png", annotation(two, bare)))
    every = layout(tmp_path)
    (record,) = every.records()
    assert every.class_names == ("Car", "object")
    assert every.truth(record).objects("component").object_class.tolist() == [0, 1]
    red = layout(tmp_path, classes=["Red"])
    (record,) = red.records()
    assert red.truth(record).objects("component").object_class.tolist() == [0]
    assert "did you mean 'Car'" in refused(tmp_path, ConfigError, classes=["Cart"])


def min_line(image="/data/upload/1/a.png", number=5, when="2024-01-02T00:00:00Z", **tags) -> dict:
    return {"image": image, "id": 1, "annotator": 1, "annotation_id": number, "lead_time": 3.1,
            "created_at": when, "updated_at": when, **tags}  # fmt: skip


def test_json_min(tmp_path) -> None:
    picture(tmp_path, "a.png", "b.png")
    sizes = {"original_width": SIZE[1], "original_height": SIZE[0]}
    label = [
        {**rectangle(), "rectanglelabels": ["Cat"], **sizes},
        {"points": TRIANGLE, "closed": True, "polygonlabels": ["Dog"], **sizes},
    ]
    painted = [{**brush(box(1, 1, 5, 5)), "brushlabels": ["Sky"], **sizes}]
    save(tmp_path, min_line(label=label, tag=painted, choice="good"), min_line("b.png"))
    assert LabelStudioLayout.recognise(Listing.of(tmp_path)) is not None
    one = layout(tmp_path)
    first, second = one.records()
    assert one.class_names == ("Cat", "Dog", "Sky")
    objects = one.truth(first).objects("component")
    assert sorted(objects.object_class.tolist()) == [0, 1, 2]
    assert one.truth(second).objects("component").object_class.size == 0


def test_one_annotation_in_a_file(tmp_path) -> None:
    picture(tmp_path, "a.png")
    content = annotation(region()) | {"task": {"id": 1, "data": {"image": "s3://bucket/x/a.png"}}}
    (tmp_path / "11.json").write_text(json.dumps(content))
    assert LabelStudioLayout.recognise(Listing.of(tmp_path)) is not None
    assert len(masks(tmp_path)) == 1


def test_old_exports_have_completions(tmp_path) -> None:
    picture(tmp_path, "a.png")
    old = task("a.png")
    old["completions"] = old.pop("annotations")
    save(tmp_path, old)
    assert len(masks(tmp_path)) == 1


def test_the_newest_annotation_that_is_not_cancelled(tmp_path, caplog) -> None:
    picture(tmp_path, "a.png")
    old = annotation(region(), updated_at="2024-01-01T00:00:00Z")
    new = annotation(
        region("rectanglelabels", ["B"], rectangle()), updated_at="2024-05-01T00:00:00Z"
    )
    cancelled = annotation(was_cancelled=True, updated_at="2024-09-01T00:00:00Z")
    save(tmp_path, task("a.png", new, old, cancelled))
    with caplog.at_level(logging.WARNING):
        (mask,) = masks(tmp_path)
    assert np.array_equal(mask, box(10, 20, 20, 60))
    assert "1 images have several annotations; the newest that is not cancelled" in caplog.text
    # In JSON-MIN every annotation is a line.
    sizes = {"original_width": SIZE[1], "original_height": SIZE[0]}
    lines = [
        min_line("a.png", number, when, label=[{**value, "rectanglelabels": ["B"], **sizes}])
        for number, when, value in (
            (8, "2024-05-01T00:00:00Z", rectangle()),
            (9, "2024-02-01T00:00:00Z", {**rectangle(), "x": 0}),
        )
    ]
    save(tmp_path, *lines)
    assert np.array_equal(masks(tmp_path)[0], box(10, 20, 20, 60))


def test_tasks_without_annotation(tmp_path, caplog) -> None:
    picture(tmp_path, "a.png", "b.png", "c.png", "d.png")
    open_task = task("b.png") | {"annotations": []}
    empty = task("d.png", annotation())
    save(tmp_path, task("a.png"), task("c.png", annotation(was_cancelled=True)), empty)
    with caplog.at_level(logging.WARNING):
        text = refused(tmp_path)
    assert "1 images whose annotations are all cancelled" in caplog.text
    assert "1 image has no task" in text
    save(tmp_path, task("a.png"), open_task, empty)
    (tmp_path / "c.png").unlink()
    assert "1 image has no annotation" in refused(tmp_path)
    records = layout(tmp_path, on_missing="skip").records()
    assert [record.sample_id for record in records] == ["a.png", "d.png"]
    save(tmp_path, open_task)
    assert "no image of the export is annotated" in refused(tmp_path, on_missing="skip")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("/data/upload/3/1a2b3c4d-my%20photo.png", "1a2b3c4d-my photo.png"),
        ("/data/upload/3/1a2b3c4d-photo.png", "photo.png"),
        ("/data/local-files/?d=set/one/photo.png", "one/photo.png"),
        ("/data/local-files/?d=set%2Fone%2Fmy%20photo.png", "one/my photo.png"),
        ("http://host:8080/data/local-files/?d=one/photo.png", "photo.png"),
        ("https://bucket.s3.amazonaws.com/x/photo.png?X-Amz-Signature=abc", "photo.png"),
        ("gs://bucket/photo.PNG", "photo.PNG"),
        ("C:\\data\\one\\photo.png", "one/photo.png"),
        ("photo.png", "deep/er/photo.png"),
    ],
)
def test_names(tmp_path, name, file) -> None:
    picture(tmp_path, file)
    save(tmp_path, task(name))
    assert [record.sample_id for record in layout(tmp_path).records()] == [file]


def test_folders_decide_between_equal_names(tmp_path) -> None:
    picture(tmp_path, "x/one/a.png", "x/two/a.png")
    save(tmp_path, *(task(f"/data/local-files/?d=s/{n}/a.png", id=n) for n in ("one", "two")))
    assert len(layout(tmp_path).records()) == 2
    save(tmp_path, task("/data/upload/1/a.png"))
    text = refused(tmp_path)
    assert "several images fit the name of a task" in text
    assert "x/one/a.png and x/two/a.png" in text
    assert "fix: choose with data.images" in text


@pytest.mark.parametrize(
    "name",
    ["/data/local-files/?d=../out/a.png", "../out/a.png", "/data/upload/..%2F..%2Fout/a.png",
     "http://host/../../out/a.png", "/data/local-files/?d=..%5Cout%5Ca.png"],
)  # fmt: skip
def test_names_that_lead_out(tmp_path, name) -> None:
    picture(tmp_path, "root/b.png", "out/a.png")
    save(tmp_path / "root", task(name))
    text = refused(tmp_path / "root")
    assert "outside the data folder" in text
    assert "fix: correct the task" in text


def test_nothing_outside_is_found(tmp_path) -> None:
    picture(tmp_path, "root/b.png", "out/a.png")
    save(tmp_path / "root", task(str(tmp_path / "out/a.png")), task("b.png"))
    assert "1 image of a task has no file" in refused(tmp_path / "root")


def test_several_pages(tmp_path) -> None:
    picture(tmp_path, "p1.png", "p2.png")
    pages = task(
        "x",
        annotation(
            region(item_index=0), region("rectanglelabels", ["B"], rectangle(), item_index=1)
        ),
    )
    pages["data"] = {"pages": ["/data/upload/1/p1.png", "/data/upload/1/p2.png"]}
    save(tmp_path, pages)
    assert np.array_equal(masks(tmp_path, 1)[0], box(10, 20, 20, 60))
    assert len(masks(tmp_path, 0)) == 1


def test_left_out_and_turned_are_said(tmp_path, caplog) -> None:
    picture(tmp_path, "a.png")
    regions = [
        region(image_rotation=90),
        region("keypointlabels", ["K"], {"x": 5, "y": 5, "width": 1}),
        region("vectorlabels", ["V"], {"vertices": [], "closed": False}),
        region(
            "vectorlabels",
            ["W"],
            {"vertices": [{"x": 1, "y": 2, "isBezier": True}], "closed": True},
        ),
        region(value={"points": [[1, 1], [2, 2]]}),
    ]
    text_task = {**task("a.png", id=9), "data": {"text": "no image"}}
    save(tmp_path, task("a.png", annotation(*regions)), text_task)
    with caplog.at_level(logging.WARNING):
        assert len(masks(tmp_path)) == 1
    assert "1 regions were drawn on a rotated view" in caplog.text
    for said in ("key points", "1 of open paths", "1 of paths with curves", "outline without area",
                 "1 of tasks without an image"):  # fmt: skip
        assert said in caplog.text


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"value": {"rle": ["a"], "format": "rle"}}, "a brush of something else than bytes"),
        ({"value": {"rle": [1, 2, 999]}}, "a brush of something else than bytes"),
        ({"value": {"points": [["a", 1]]}}, "vertices that are no numbers"),
        ({"value": {"points": [[float("nan"), 1], [2, 3], [4, 5]]}}, "nowhere near the image"),
        ({"value": {"points": 7}}, "7 as points of a polygon"),
        ({"value": {"vertices": [3], "closed": True}}, "a path without corners"),
        ({"value": {**rectangle(), "x": None}}, "None as a position"),
        ({"value": {**rectangle(), "x": float("inf")}}, "inf as a position"),
        ({"value": {"x": 1, "y": 1, "radiusX": "2", "radiusY": 1}}, "'2' as a position"),
        ({"original_width": -5}, "an image of 40 x -5"),
        ({"original_height": "40"}, "an image of '40' x 80"),
    ],
)
def test_damaged_regions(tmp_path, change, found) -> None:
    picture(tmp_path, "a.png")
    path = save(tmp_path, task("a.png", annotation(region() | change)))
    text = refused(tmp_path)
    assert found in text
    assert str(path) in text


@pytest.mark.parametrize(
    ("tasks", "found"),
    [
        ([3], "task 1 is no object"),
        ([{"id": 3}], "task 1 without data and annotations"),
        ([task("a.png") | {"annotations": [7]}], "an annotation that is no object"),
        ([task("a.png", annotation() | {"result": {}})], "an object under 'result'"),
        ([task("a.png", annotation() | {"result": [7]})], "a region that is no object"),
    ],
)
def test_damaged_tasks(tmp_path, tasks, found) -> None:
    picture(tmp_path, "a.png")
    save(tmp_path, *tasks)
    assert found in refused(tmp_path, labels="*.json")


def test_damaged_masks_when_read(tmp_path) -> None:
    picture(tmp_path, "a.png")
    for value, found in (
        ({"rle": _BRUSH.mask_to_rle(box(0, 0, 5, 5))[:-3]}, "cut off"),
        (brush(np.ones((3, 3), bool)), "a mask of 36 bytes, 12800 in the image"),
        ({"imageDataURL": "data:image/png;base64,AAAA"}, "cannot be read"),
    ):
        save(tmp_path, task("a.png", annotation(region("brushlabels", ["A"], value))))
        one = layout(tmp_path)
        with pytest.raises(DatasetError, match=found):
            one.truth(one.records()[0])


def test_sizes_that_differ(tmp_path) -> None:
    picture(tmp_path, "a.png", size=(80, 40))
    save(tmp_path, task("a.png"))
    one = layout(tmp_path)
    records = one.records()
    for read in (lambda: one.truth(records[0]), lambda: one.check(records)):
        with pytest.raises(DatasetError, match=r"sizes differ\n.*40 x 80.*80 x 40"):
            read()


def test_sizes_may_be_missing(tmp_path) -> None:
    picture(tmp_path, "a.png")
    entry = region("rectanglelabels", ["B"], rectangle())
    del entry["original_width"]
    save(tmp_path, task("a.png", annotation(entry)))
    assert np.array_equal(masks(tmp_path)[0], box(10, 20, 20, 60))


def test_a_large_export_is_recognised(tmp_path) -> None:
    painted = region("brushlabels", ["A"], {"format": "rle", "rle": [17] * 300_000})
    save(tmp_path, *(task(f"{n}.png", annotation(painted)) for n in range(3)))
    assert LabelStudioLayout.recognise(Listing.of(tmp_path)) is not None


def test_others_are_not(tmp_path) -> None:
    picture(tmp_path, "a.png")
    for content in ([{"image_id": 1, "score": 2}], {"images": [], "annotations": []}, [], [1], "x"):
        (tmp_path / "x.json").write_text(json.dumps(content))
        assert LabelStudioLayout.recognise(Listing.of(tmp_path)) is None
    assert "no export of Label Studio found" in refused(tmp_path)


def test_travels_to_workers(tmp_path) -> None:
    picture(tmp_path, "a.png")
    path = save(tmp_path, task("a.png"))
    one = layout(tmp_path)
    (record,) = one.records()
    path.unlink()
    again = pickle.loads(pickle.dumps(one))
    assert again.truth(record).objects("component").object_class.tolist() == [0]
