"""Records in every form, and the SA-1B file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from samft.errors import OutputError
from samft.inference.records import MaskRecord, to_sa1b
from samft.inference.run_lengths import RunLengths


def record(prompt=(3.5, 4.5)) -> MaskRecord:
    mask = np.zeros((12, 20), bool)
    mask[2:7, 3:9] = True
    return MaskRecord(
        runs=RunLengths.encode(mask),
        box=(3, 2, 8, 6),
        predicted_iou=0.75,
        stability_score=0.5,
        prompt=prompt,
        crop_box=(0, 0, 20, 12),
    )


def test_the_official_keys() -> None:
    values = record().to_dict("binary_mask")
    mask = values.pop("segmentation")
    assert mask.dtype == bool
    assert mask[2:7, 3:9].all()
    assert values == {
        "area": 30,
        "bbox": [3, 2, 5, 4],
        "predicted_iou": 0.75,
        "point_coords": [[3.5, 4.5]],
        "stability_score": 0.5,
        "crop_box": [0, 0, 20, 12],
    }


def test_a_box_is_not_passed_off_as_a_point() -> None:
    values = record(prompt=(1.0, 2.0, 9.0, 8.0)).to_dict("coco_rle")
    assert values["point_coords"] == []
    assert values["box_coords"] == [1.0, 2.0, 9.0, 8.0]


@pytest.mark.parametrize("mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
def test_sa1b_from_any_form(mode) -> None:
    found = to_sa1b([record().to_dict(mode)] * 2, image_id=7, file_name="sa_7.jpg", size=(12, 20))
    content = json.loads(json.dumps(found))
    assert content["image"] == {
        "image_id": 7,
        "width": 20,
        "height": 12,
        "file_name": "sa_7.jpg",
    }
    assert [annotation["id"] for annotation in content["annotations"]] == [1, 2]
    first = content["annotations"][0]
    assert first.keys() == {
        "id",
        "segmentation",
        "bbox",
        "area",
        "predicted_iou",
        "stability_score",
        "crop_box",
        "point_coords",
    }
    mask = coco_mask.decode(first["segmentation"])
    assert mask.shape == (12, 20)
    assert mask.sum() == first["area"] == 30
    assert mask[2:7, 3:9].all()


def test_no_mask_is_fine_and_a_mask_of_another_image_is_not() -> None:
    empty = to_sa1b([], image_id=1, file_name="a.jpg", size=(5, 6))
    assert empty["annotations"] == []
    with pytest.raises(OutputError) as caught:
        to_sa1b([record().to_dict("coco_rle")], image_id=1, file_name="a.jpg", size=(5, 6))
    assert "a.jpg, record 1, found: [12, 20], expected: [5, 6]" in str(caught.value)
