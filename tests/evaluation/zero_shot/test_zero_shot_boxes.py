"""A detector's results file: what is taken, what is left out and counted, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samft.errors import DatasetError
from samft.evaluation.zero_shot.boxes import BoxIds, read_boxes

IDS = BoxIds(images={7: "a.png", 8: "b.png"}, categories={3: 0, 5: 1})
GOOD = {"image_id": 7, "category_id": 5, "bbox": [2, 3, 10, 4.5], "score": 0.5}


def written(folder: Path, content: object) -> Path:
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_boxes_run_through_the_centres_of_the_outermost_pixels(tmp_path):
    boxes = read_boxes(written(tmp_path, [GOOD, {**GOOD, "bbox": [1, 1, 0.5, 0.5]}]), IDS)
    first, thin = boxes.by_image["a.png"]
    assert first.box == (2, 3, 11, 6.5)
    assert (first.score, first.class_index) == (0.5, 1)
    assert thin.box == (1, 1, 1, 1)
    assert boxes.notes() == []


def test_what_cannot_be_meant_is_left_out_and_counted(tmp_path):
    entries = [
        GOOD,
        {**GOOD, "image_id": 99},
        {**GOOD, "image_id": "a.png"},
        {**GOOD, "category_id": 4},
        {**GOOD, "score": float("nan")},
        {**GOOD, "bbox": [0, 0, float("inf"), 2]},
        {**GOOD, "bbox": [0, 0, 10**400, 2]},
        {**GOOD, "bbox": [0, 0, -3, 2]},
        {**GOOD, "bbox": [500, 0, 3, 2]},
    ]
    boxes = read_boxes(written(tmp_path, entries), IDS)
    assert boxes.dropped == {"image": 2, "category": 1, "number": 3, "size": 1}
    kept = boxes.inside("a.png", (20, 8))
    assert [each.box for each in kept] == [(2, 3, 7, 6.5)]  # cut at the border
    assert "boxes outside the image were left out: 1" in boxes.notes()
    assert boxes.inside("b.png", (20, 8)) == []
    assert boxes.copy().dropped == boxes.dropped
    assert boxes.copy().dropped is not boxes.dropped


def test_without_classes_every_category_is_taken(tmp_path):
    boxes = read_boxes(written(tmp_path, [GOOD]), BoxIds(images={7: "a.png"}, categories={}))
    assert boxes.by_image["a.png"][0].class_index == 0


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ([], "a list"),
        ({**GOOD, "bbox": [1, 2, 3]}, "bbox [1, 2, 3]"),
        ({**GOOD, "bbox": [1, 2, 3, "4"]}, "bbox [1, 2, 3, '4']"),
        ({**GOOD, "bbox": None}, "bbox None"),
        ({**GOOD, "score": "high"}, "score 'high'"),
        ({**GOOD, "score": True}, "score True"),
        ({**GOOD, "image_id": 7.0}, "image_id 7.0"),
        ({name: value for name, value in GOOD.items() if name != "score"}, "no score"),
    ],
)
def test_a_malformed_entry_is_refused(tmp_path, entry, found):
    path = written(tmp_path, [GOOD, entry])
    with pytest.raises(DatasetError) as caught:
        read_boxes(path, IDS)
    assert str(caught.value).startswith("an entry of the results file is malformed")
    assert f"{path}, entry 1, found: {found}" in str(caught.value)


def test_files_that_are_no_results(tmp_path):
    with pytest.raises(DatasetError, match=r"an object, expected: a list of \{image_id") as truth:
        read_boxes(written(tmp_path, {"annotations": []}), IDS)
    assert "this is no results file" in str(truth.value)
    assert "where there is no --boxes" in str(truth.value)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_boxes(written(tmp_path, "[{"), IDS)
    with pytest.raises(DatasetError, match="does not exist"):
        read_boxes(tmp_path / "none.json", IDS)
    with pytest.raises(DatasetError, match="does not have were left out: 1") as no:
        read_boxes(written(tmp_path, [{**GOOD, "image_id": 1}]), IDS)
    assert "--coco-ids" in str(no.value)
    with pytest.raises(DatasetError, match="an empty list"):
        read_boxes(written(tmp_path, []), IDS)
