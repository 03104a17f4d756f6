"""Prediction files: every format readable by somebody else's library, nothing overwritten."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools.coco import COCO

from samft.errors import OutputError
from samft.inference.predictions import ImagePrediction, ObjectPrediction, encode_rle
from samft.inference.writers import PredictionFiles


def prediction(sample_id: str = "plate/a.tif", objects: int = 2) -> ImagePrediction:
    found = []
    for number in range(objects):
        mask = np.zeros((20, 30), bool)
        mask[(number * 4) % 16 : (number * 4) % 16 + 3, 5:9] = True
        prompt = {"box": [5, 0, 8, 2], "points": [[6, 1]], "labels": [1]}
        found.append(
            ObjectPrediction(
                rle=encode_rle(mask),
                score=0.9,
                prompt=prompt,
                prompt_id=number + 1,
                class_name="cell" if number == 0 else None,
            )
        )
    image = np.full((20, 30, 3), 50, np.uint8)
    return ImagePrediction(sample_id=sample_id, size=(20, 30), objects=found, image=image)


def test_every_format(tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = PredictionFiles(out, ["png", "tiff", "coco", "overlay"], class_names=["cell", "debris"])
    files.write(prediction("plate/a.tif"))
    files.write(prediction("plate/b.tif", objects=0))
    files.close()
    png = np.asarray(Image.open(out / "labels/plate/a.tif.png"))
    tiff = tifffile.imread(out / "labels/plate/a.tif.tif")
    assert png.dtype == np.uint8
    assert tiff.dtype == np.uint16
    assert np.array_equal(png, tiff)
    assert sorted(np.unique(png)) == [0, 1, 2]
    overlay = np.asarray(Image.open(out / "overlays/plate/a.tif.png"))
    assert overlay.shape == (20, 30, 3)
    assert (overlay != 50).any()
    coco = COCO(out / "coco.json")
    assert [image["file_name"] for image in coco.loadImgs([1, 2])] == ["plate/a.tif", "plate/b.tif"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert coco.annToMask(annotations[0]).sum() == 12
    assert annotations[0]["bbox"] == [5, 0, 4, 3]
    assert annotations[1]["score"] == 0.9
    assert [category["name"] for category in coco.loadCats([1, 2, 3])] == [
        *("cell", "debris", "object"),
    ]
    assert [item["category_id"] for item in annotations] == [1, 3]
    assert not list(out.rglob("*.part"))


def test_many_objects_need_more_bits(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path / "out", ["png"])
    files.write(prediction(objects=300))
    labels = np.asarray(Image.open(tmp_path / "out/labels/plate/a.tif.png"))
    assert labels.max() == 300


def test_parts_of_several_processes_are_joined(tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = [PredictionFiles(out, ["coco"], part=part) for part in range(2)]
    parts[1].write(prediction("a.png", objects=1))
    parts[0].write(prediction("b.png", objects=2))
    parts[0].close()
    document = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a.png", "b.png"]
    assert [entry["id"] for entry in document["annotations"]] == [1, 2, 3]


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="the output folder is not empty") as caught:
        PredictionFiles(tmp_path, ["png"])
    assert str(tmp_path) in str(caught.value)
    assert "--overwrite" in str(caught.value)
    with pytest.raises(OutputError, match="the output folder is a file"):
        PredictionFiles(tmp_path / "precious.txt", ["png"], overwrite=True)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "x/../../a.png", "..\\..\\a.png"])
def test_names_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    files = PredictionFiles(tmp_path / "out", ["png"])
    with pytest.raises(OutputError, match="outside the output folder"):
        files.write(prediction(name))
    assert not list(tmp_path.rglob("a.png*"))
