"""Folders of labelme."""

import base64
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.labelme import LabelmeLayout
from samft.data.layouts.listing import Listing
from samft.data.layouts.voc import VocLayout
from samft.errors import ConfigError, DatasetError

SQUARE = [[2, 2], [10, 2], [10, 10], [2, 10]]


def picture(path: Path, size: tuple[int, int] = (30, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 20, 20)).save(path)
    return path


def marks(path: Path, image: str | None, *labels: str, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shapes = [
        {"label": label, "points": SQUARE, "group_id": None, "shape_type": "polygon", "flags": {}}
        for label in labels
    ]
    content = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": image,
               "imageData": None, "imageHeight": 20, "imageWidth": 30}  # fmt: skip
    path.write_text(json.dumps({**content, **more}))
    return path


def found(root: Path, **settings: Any) -> dict[str, str]:
    records = LabelmeLayout(root, LayoutSettings(**settings)).records()
    return {
        record.labels[0].relative_to(root).as_posix(): record.images[0].relative_to(root).as_posix()
        for record in records
    }


def test_json_beside_its_image(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    picture(tmp_path / "sub/b.png")
    marks(tmp_path / "a.json", "a.jpg", "nerve", "cell", "__ignore__")
    marks(tmp_path / "sub/b.json", "b.png")
    layout = LabelmeLayout(tmp_path, LayoutSettings())
    records = layout.records()
    assert [record.sample_id for record in records] == ["a.jpg", "sub/b.png"]
    assert layout.class_names == ("cell", "nerve")
    again = pickle.loads(pickle.dumps(layout))
    objects = again.truth(records[0]).objects("component")
    assert objects.object_class.tolist() == [1, 0]
    assert again.truth(records[1]).objects("component").object_class.size == 0
    layout.check(records)
    assert "a.json" in str(LabelmeLayout.recognise(Listing.of(tmp_path)))


@pytest.mark.parametrize(
    ("named", "image"),
    [
        ("..\\images\\a.jpg", "images/a.jpg"),
        ("../images/a.jpg", "images/a.jpg"),
        ("C:\\Users\\me\\a.jpg", "labels/a.jpg"),
        ("/home/me/a.jpg", "labels/a.jpg"),
        ("../../../etc/a.jpg", "labels/a.jpg"),
        ("renamed.jpg", "labels/m.png"),
        ("", "labels/m.png"),
        (None, "labels/m.png"),
        ("elsewhere.jpg", "other/m.tif"),
    ],
)
def test_where_the_image_is_looked_for(tmp_path: Path, named: str | None, image: str) -> None:
    picture(tmp_path / image)
    marks(tmp_path / "labels/m.json", named, "cell")
    assert found(tmp_path) == {"labels/m.json": image}


def test_names_never_lead_out(tmp_path: Path) -> None:
    picture(tmp_path / "secret.png")
    root = tmp_path / "data"
    picture(root / "other.png")
    marks(root / "m.json", "../secret.png", "cell")
    with pytest.raises(DatasetError, match="1 label file has no image"):
        found(root)


def test_an_image_only_inside_the_json_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "b.jpg")
    marks(tmp_path / "b.json", "b.jpg", "cell")
    data = base64.b64encode((tmp_path / "b.jpg").read_bytes()).decode()
    marks(tmp_path / "a.json", "a.jpg", "cell", imageData=data)
    with pytest.raises(DatasetError, match="images lie only inside") as caught:
        found(tmp_path)
    assert caught.value.where == tmp_path
    assert "a.json" in str(caught.value.found)
    assert "labelme_export_json" in str(caught.value.fix)
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path, on_missing="skip") == {"b.json": "b.jpg"}
    assert "1 label file has no image, left out: a.json" in caplog.text


def test_images_and_labels_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.jpg")
    marks(tmp_path / "a.json", "a.jpg", "cell")
    with pytest.raises(DatasetError, match="1 image has no label file") as caught:
        found(tmp_path)
    assert "on_missing: skip" in str(caught.value.fix)
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path, on_missing="skip") == {"a.json": "a.jpg"}
    assert "b.jpg" in caplog.text


def test_other_json_is_counted_or_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "a.jpg")
    marks(tmp_path / "a.json", "a.jpg", "cell")
    (tmp_path / "package.json").write_text("{}")
    with caplog.at_level(logging.INFO):
        assert found(tmp_path) == {"a.json": "a.jpg"}
    assert "not labelme's JSON and not read: package.json" in caplog.text
    with pytest.raises(DatasetError, match="the file is not labelme's JSON"):
        found(tmp_path, labels="*.json")
    (tmp_path / "a.json").unlink()
    with pytest.raises(DatasetError, match="the file is not labelme's JSON"):
        found(tmp_path)
    (tmp_path / "package.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read"):
        found(tmp_path)


def test_lines_are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = {"label": "cell", "points": SQUARE[:2], "shape_type": "line"}
    for name in ("a", "b"):
        picture(tmp_path / f"{name}.jpg")
        marks(tmp_path / f"{name}.json", f"{name}.jpg", shapes=[line, line])
    with caplog.at_level(logging.WARNING):
        found(tmp_path)
    assert caplog.messages == ["shapes left out: 4 of line, which has no area"]


def test_the_order_of_labels_txt_and_of_the_user(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    marks(tmp_path / "a.json", "a.jpg", "nerve", "cell")
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nnerve\nother\ncell\n")
    layout = LabelmeLayout(tmp_path, LayoutSettings())
    layout.records()
    assert layout.class_names == ("nerve", "other", "cell")
    layout = LabelmeLayout(tmp_path, LayoutSettings(classes=["cell"]))
    (record,) = layout.records()
    assert layout.truth(record).objects("component").object_class.tolist() == [0]
    with pytest.raises(ConfigError, match="no label file has a class of this name") as caught:
        LabelmeLayout(tmp_path, LayoutSettings(classes=["cel"])).records()
    assert "did you mean 'cell'" in str(caught.value.fix)


def test_a_size_that_is_not_the_image_s(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", (31, 20))
    marks(tmp_path / "a.json", "a.jpg", "cell")
    layout = LabelmeLayout(tmp_path, LayoutSettings())
    records = layout.records()
    for look in (lambda: layout.truth(records[0]), lambda: layout.check(records)):
        with pytest.raises(DatasetError, match="sizes differ") as caught:
            look()
        assert caught.value.where == tmp_path / "a.json"


def test_nothing_of_labelme(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"images": []}')
    assert LabelmeLayout.recognise(Listing.of(tmp_path)) is None


def test_labelme_s_own_examples(real_data: Path) -> None:
    """The masks are those of its COCO export, and nearly those of its VOC export."""
    root = real_data / "general/labelme_examples/instance_segmentation"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    layout = LabelmeLayout(root / "data_annotated", LayoutSettings())
    records = layout.records()
    counts = [layout.truth(record).objects("component").object_class.size for record in records]
    assert counts == [3, 6, 3]
    assert layout.class_names == ("bottle", "bus", "car", "chair", "person", "sofa")
    coco = coco_masks(root / "data_dataset_coco/annotations.json")
    voc = VocLayout(root / "data_dataset_voc", LayoutSettings())
    drawn = {Path(record.sample_id).stem: record for record in voc.records()}
    for record in records:
        stem = Path(record.sample_id).stem
        ours = masks_of(layout, record)
        assert all(max(overlap(mask, other) for other in coco[stem]) == 1 for mask in ours)
        exported = masks_of(voc, drawn[stem])
        assert len(exported) == len(ours)
        assert all(max(overlap(mask, other) for other in exported) > 0.93 for mask in ours)


def masks_of(layout: Any, record: Any) -> list[np.ndarray]:
    objects = layout.truth(record).objects("component")
    return [objects.layers[layer] == k + 1 for k, layer in enumerate(objects.object_layer)]


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def coco_masks(path: Path) -> dict[str, list[np.ndarray]]:
    """Return the masks of an export, read without our code."""
    from pycocotools import mask as coding

    content = json.loads(path.read_text())
    found: dict[str, list[np.ndarray]] = {}
    for image in content["images"]:
        size = image["height"], image["width"]
        found[Path(image["file_name"]).stem] = [
            coding.decode(coding.merge(coding.frPyObjects(item["segmentation"], *size))) > 0
            for item in content["annotations"]
            if item["image_id"] == image["id"]
        ]
    return found
