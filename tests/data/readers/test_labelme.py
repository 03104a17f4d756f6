"""Files of labelme, version 3 to 6."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samft.data.readers.labelme import is_labelme, read_label_names, read_labelme
from samft.data.shapes import ShapeTruth
from samft.errors import DatasetError

TRIANGLE = [[2.0, 2.0], [10.0, 2.0], [2.0, 10.0]]


def shape(
    label: str = "cell", points: Any = None, kind: str | None = "polygon", **more: Any
) -> Any:
    points = TRIANGLE if points is None else points
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {},
            "description": "", "mask": None, **more}  # fmt: skip


def document(*shapes: Any, **more: Any) -> dict[str, Any]:
    """Return a document with the keys that labelme 5.5 writes."""
    return {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": "a.jpg",
            "imageData": None, "imageHeight": 20, "imageWidth": 30, **more}  # fmt: skip


def write(folder: Path, *shapes: Any, **more: Any) -> Path:
    path = folder / "a.json"
    path.write_text(json.dumps(document(*shapes, **more), indent=2))
    return path


def png(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def labelled(path: Path):
    found = read_labelme(path)
    assert found is not None
    return found.labelled


def areas(path: Path, *names: str) -> list[int]:
    truth = ShapeTruth(labelled(path).shapes, (20, 30), {name: i for i, name in enumerate(names)})
    objects = truth.objects("component")
    return [
        int((objects.layers[layer] == number + 1).sum())
        for number, layer in enumerate(objects.object_layer)
    ]


def test_polygons_and_what_the_file_says(tmp_path: Path) -> None:
    path = write(tmp_path, shape(), shape("nerve", [[0, 0], [4, 0], [4, 4], [0, 4]], None))
    found = labelled(path)
    assert [item.class_name for item in found.shapes] == ["cell", "nerve"]
    assert found.shapes[0].outer[0].tolist() == TRIANGLE
    assert (found.size, found.image_name, dict(found.left_out)) == ((20, 30), "a.jpg", {})
    assert areas(path, "cell", "nerve")[1] == 16


def test_rectangles_in_any_order_of_corners(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        shape(points=[[10, 8], [2, 4]], kind="rectangle"),
        shape(points=[[12, 4], [20, 4], [20, 8], [12, 8]], kind="rectangle"),
        shape(points=[[12, 10], [20, 10], [20, 14], [12, 14]], kind="oriented_rectangle"),
        shape(points=[[2, 10], [10, 10], [10, 14], [2, 14]], kind="rotation", direction=0.0),
    )
    assert areas(path, "cell") == [32, 32, 32, 32]


def test_a_circle_is_its_centre_and_a_point_on_it(tmp_path: Path) -> None:
    path = write(tmp_path, shape(points=[[15, 10], [18, 14]], kind="circle"))
    assert areas(path, "cell")[0] == pytest.approx(np.pi * 25, rel=0.05)


def test_a_mask_lies_where_its_first_corner_is(tmp_path: Path) -> None:
    mask = np.zeros((4, 6), np.uint8)
    mask[1:, 2:] = 1
    path = write(tmp_path, shape(points=[[3, 5], [8, 8]], kind="mask", mask=png(mask)))
    (found,) = labelled(path).shapes
    assert found.bitmap_at == (3, 5)
    assert found.bitmap is not None
    assert np.array_equal(found.bitmap, mask > 0)
    assert areas(path, "cell") == [12]


def test_fractional_corners_keep_the_size_of_the_mask(tmp_path: Path) -> None:
    mask = png(np.full((4, 6), 255, np.uint8))
    path = write(tmp_path, shape(points=[[2.6, 5.4], [8.4, 9.6]], kind="mask", mask=mask))
    (found,) = labelled(path).shapes
    assert found.bitmap_at == (3, 5)
    assert found.bitmap is not None
    assert found.bitmap.shape == (4, 6)


def test_parts_of_an_object_have_one_group_and_label(tmp_path: Path) -> None:
    far = [[20, 2], [28, 2], [20, 10]]
    path = write(
        tmp_path, shape(group_id=1), shape(points=far, group_id=1), shape("other", group_id=1)
    )
    groups = [item.group for item in labelled(path).shapes]
    assert groups[0] == groups[1] != groups[2]
    assert len(areas(path, "cell", "other")) == 2


def test_ignored_regions_and_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        shape("__ignore__"),
        shape(points=[[1, 1]], kind="point"),
        shape(points=[[1, 1], [5, 5]], kind="line"),
        shape(points=[[1, 1], [5, 5], [9, 1]], kind="linestrip"),
        shape(points=[[1, 1], [5, 5]], kind="points"),
        shape(points=[[1, 1], [5, 5]], kind="linestrip"),
        shape(points=[[1, 1], [5, 5], [1, 2]], kind="hologram"),
    )
    found = labelled(path)
    assert [item.unknown for item in found.shapes] == [True]
    assert found.left_out["linestrip, which has no area"] == 2
    assert found.left_out["shape_type 'hologram', which is not known"] == 1
    assert sum(found.left_out.values()) == 6


def test_background_over_an_object_cuts_a_hole(tmp_path: Path) -> None:
    outer = [[2, 2], [12, 2], [12, 12], [2, 12]]
    inner = [[4, 4], [8, 4], [8, 8], [4, 8]]
    later = [[5, 5], [7, 5], [7, 7], [5, 7]]
    path = write(tmp_path, shape(points=outer), shape("_background_", inner), shape("b", later))
    assert areas(path, "cell", "b") == [100 - 16, 4]
    alone = write(tmp_path, shape("_background_", inner))
    assert labelled(alone).left_out == {"_background_ over nothing": 1}


def test_background_over_background_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samft.data.readers.labelme._MOST_CUTS", 5)
    over = [shape(), shape("_background_"), shape(), shape("_background_")]
    path = write(tmp_path, *over)
    assert [len(found.holes) for found in labelled(path).shapes] == [2, 1]
    path = write(tmp_path, *over, shape(), shape("_background_"))
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_labelme(path)
    assert caught.value.found == "more than 5 cuts by background"
    assert caught.value.where == path


def test_other_json_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps({"images": [], "annotations": []}))
    assert read_labelme(path) is None
    assert not is_labelme([1])


def test_an_image_inside_the_file_is_noticed(tmp_path: Path) -> None:
    found = read_labelme(write(tmp_path, shape(), imageData="aGk="))
    assert found is not None
    assert found.has_image


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (shape(points="many"), "points: str"),
        (shape(points=None, kind="polygon") | {"points": None}, "points: nothing"),
        (shape(points=[["a", 1], [2, 3], [4, 5]]), "no numbers"),
        (shape(points=[[1, 2]], kind="rectangle"), "1 points"),
        (shape(points=[[1, 2], [None, 4]], kind="circle"), "2 points"),
        (shape(points=[[0, 0], [3, 3]], kind="mask"), "mask of nothing"),
        ({"points": TRIANGLE}, "without label"),
        ("shape", "without label"),
        (shape(label=7), "without label"),
    ],
)
def test_wrong_types_are_refused(tmp_path: Path, broken: Any, text: str) -> None:
    path = write(tmp_path, broken)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_labelme(path)
    assert text in str(caught.value.found)
    assert caught.value.where == path
    assert "take it out of the data set" in str(caught.value.fix)


NOISE = np.random.default_rng(0).integers(0, 2, (40, 40), np.uint8)


@pytest.mark.parametrize("coded", ["####", "aGVsbG8=", png(NOISE)[:160]])
def test_damaged_masks_are_refused(tmp_path: Path, coded: str) -> None:
    path = write(tmp_path, shape(points=[[0, 0], [2, 2]], kind="mask", mask=coded))
    with pytest.raises(DatasetError, match="cannot be read"):
        read_labelme(path)


def test_a_mask_that_claims_a_huge_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", "1000000")
    coded = png(np.zeros((2000, 2000), np.uint8))
    path = write(tmp_path, shape(points=[[0, 0], [1999, 1999]], kind="mask", mask=coded))
    with pytest.raises(DatasetError, match="more memory than allowed"):
        read_labelme(path)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400"])
def test_numbers_that_are_none(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, shape(points=[[1, 12345], [5, 5], [9, 1]]))
    path.write_text(path.read_text().replace("12345", value))
    with pytest.raises(DatasetError, match="nowhere near the image"):
        read_labelme(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 200_000, b"\xff\xfe\x00", b'{"a": 1e5, }'])
def test_damaged_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        read_labelme(path)
    assert caught.value.where == path


@pytest.mark.parametrize("side", [0, -5, "20", 2.5])
def test_an_impossible_image_size(tmp_path: Path, side: object) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_labelme(write(tmp_path, shape(), imageHeight=side))


def test_names_of_labels_txt(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("__ignore__\n_background_\ncell\r\n\nnerve\ncell\n")
    assert read_label_names(path) == ("cell", "nerve")
    path.write_bytes(b"\xff\xff")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_label_names(path)
