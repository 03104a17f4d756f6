"""Files about flat images, read by somebody else's library."""

import json
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from samft.errors import DatasetError
from samft.inference.formats.coco import CocoNumbers
from samft.inference.formats.registry import FORMATS, FormatOptions
from samft.inference.predictions import ImagePrediction, ObjectPrediction, decode_rle, encode_rle
from samft.inference.writers import PredictionFiles
from samft.result_formats import Format

SIZE = (40, 60)


def ring() -> np.ndarray:
    """A disc with a hole."""
    y, x = np.indices(SIZE)
    distance = (y - 20) ** 2 + (x - 20) ** 2
    return (distance <= 225) & (distance > 16)


def two_pieces() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[2:6, 50:58] = mask[30:33, 45:47] = True
    return mask


def prediction(name: str = "plate/a.tif", **changes) -> ImagePrediction:
    measures = {"stability_score": 0.97, "predicted_iou": 0.9, "area": 3, "bbox": [0, 0, 1, 1]}
    measures |= {"point_coords": [[20.0, 10.0]], "crop_box": [0, 0, 60, 40]}
    objects = [
        ObjectPrediction(
            rle=encode_rle(mask),
            score=score,
            prompt={"box": [1.0, 2.0, 30.0, 35.0]},
            prompt_id=number,
            class_name="cell" if number == 1 else None,
            measures=measures if number == 2 else {},
        )
        for number, (mask, score) in enumerate([(ring(), 0.9), (two_pieces(), 0.8)], start=1)
    ]
    return ImagePrediction(sample_id=name, size=SIZE, objects=objects, **changes)


def written(tmp_path: Path, formats: list[Format], **settings) -> Path:
    files = PredictionFiles(tmp_path / "out", formats, **settings)
    files.write(prediction())
    files.close()
    return tmp_path / "out"


def test_single_masks(tmp_path: Path) -> None:
    out = written(tmp_path, ["masks"])
    folder = out / "masks/plate/a.tif"
    assert sorted(path.name for path in folder.iterdir()) == ["00001.png", "00002.png"]
    first = np.asarray(Image.open(folder / "00001.png"))
    assert first.dtype == np.uint8
    assert np.array_equal(first, ring() * 255)


def test_coco_results_are_what_cocos_own_evaluation_reads(tmp_path: Path) -> None:
    out = written(tmp_path, ["coco", "coco_results"])
    truth = COCO(out / "coco.json")
    results = truth.loadRes(str(out / "coco_results.json"))
    evaluation = COCOeval(truth, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)  # they are the truth here


def test_coco_results_with_the_numbers_of_an_annotation_file(tmp_path: Path) -> None:
    annotations = tmp_path / "instances.json"
    document = {
        "images": [{"id": 77, "file_name": "a.tif"}, {"id": 78, "file_name": "b.tif"}],
        "categories": [{"id": 5, "name": "cell"}],
    }
    annotations.write_text(json.dumps(document))
    options = FormatOptions(coco_numbers=CocoNumbers.read(annotations))
    out = written(tmp_path, ["coco_results"], options=options)
    results = json.loads((out / "coco_results.json").read_text())
    assert [(item["image_id"], item["category_id"]) for item in results] == [(77, 5), (77, 5)]
    infinite = '{"images": [{"file_name": "a", "id": 1e999}], "categories": []}'
    for damaged in ("{}", "[]", infinite, '{"images": [{"file_name": "a", "id": []}]}'):
        annotations.write_text(damaged)
        with pytest.raises(DatasetError, match="the COCO file cannot be read") as caught:
            CocoNumbers.read(annotations)
        assert "instances.json" in str(caught.value)


def test_sa1b(tmp_path: Path) -> None:
    out = written(tmp_path, ["sa1b"])
    document = json.loads((out / "sa1b/plate/a.tif.json").read_text())
    assert set(document["image"]) == {"image_id", "width", "height", "file_name"}
    assert 0 <= document["image"]["image_id"] < 2**31
    prompted, automatic = document["annotations"]
    assert np.array_equal(coco_mask.decode(prompted["segmentation"]), ring())
    assert prompted["bbox"] == coco_mask.toBbox(prompted["segmentation"]).tolist()
    assert prompted["area"] == ring().sum()
    assert prompted["box_coords"] == [1.0, 2.0, 30.0, 35.0]
    assert "stability_score" not in prompted
    assert automatic["stability_score"] == 0.97
    assert automatic["crop_box"] == [0, 0, 60, 40]


def test_geojson(tmp_path: Path) -> None:
    out = written(tmp_path, ["geojson"])
    document = json.loads((out / "geojson/plate/a.tif.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    first, second = document["features"]
    assert first["properties"]["classification"]["name"] == "cell"
    assert first["properties"]["objectType"] == "annotation"
    assert first["properties"]["measurements"] == {"predicted IoU": 0.9}
    assert first["geometry"]["type"] == "Polygon"
    assert len(first["geometry"]["coordinates"]) == 2  # the hole is kept
    assert second["geometry"]["type"] == "MultiPolygon"
    for feature, mask in ((first, ring()), (second, two_pieces())):
        assert np.array_equal(drawn(feature["geometry"]), mask)


def drawn(geometry: dict) -> np.ndarray:
    """Fill the polygons with Pillow, twenty times as large, and look at the pixels' centres."""
    zoom = 20
    canvas = Image.new("L", (SIZE[1] * zoom, SIZE[0] * zoom))
    pen = ImageDraw.Draw(canvas)
    parts = geometry["coordinates"]
    for polygon in [parts] if geometry["type"] == "Polygon" else parts:
        for number, outline in enumerate(polygon):
            pen.polygon([(x * zoom, y * zoom) for x, y in outline], fill=0 if number else 1)
    return np.asarray(canvas)[zoom // 2 :: zoom, zoom // 2 :: zoom].astype(bool)


def test_an_empty_mask_has_no_outline(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path / "out", ["geojson"])
    empty = ObjectPrediction(
        rle=encode_rle(np.zeros(SIZE, bool)), score=0.1, prompt={}, prompt_id=1
    )
    files.write(ImagePrediction(sample_id="a.png", size=SIZE, objects=[empty]))
    content = json.loads((tmp_path / "out/geojson/a.png.geojson").read_text())
    assert content["features"] == []


def test_ome_zarr_labels(tmp_path: Path) -> None:
    out = written(tmp_path, ["ome_zarr"])
    root = zarr.open_group(out / "ome_zarr/plate/a.tif.zarr", mode="r")
    assert root.metadata.zarr_format == 3
    assert root["labels"].attrs["ome"] == {"version": "0.5", "labels": ["samft"]}
    image = root["labels/samft"]
    metadata = image.attrs["ome"]
    assert metadata["version"] == "0.5"
    (scales,) = metadata["multiscales"]
    assert [axis["name"] for axis in scales["axes"]] == ["y", "x"]
    label = metadata["image-label"]
    assert [entry["label-value"] for entry in label["colors"]] == [1, 2]
    assert label["properties"][0] == {"label-value": 1, "predicted_iou": 0.9, "class": "cell"}
    array = image[scales["datasets"][0]["path"]]
    assert array.dtype == np.uint16
    assert np.array_equal(array[:] == 1, ring())
    assert np.array_equal(array[:] == 2, two_pieces())


def test_ome_zarr_of_a_large_image_has_several_scales(tmp_path: Path) -> None:
    mask = np.zeros((600, 900), bool)
    mask[100:300, 100:700] = True
    item = ObjectPrediction(rle=encode_rle(mask), score=0.9, prompt={}, prompt_id=1)
    files = PredictionFiles(tmp_path / "out", ["ome_zarr"])
    files.write(ImagePrediction(sample_id="a.png", size=mask.shape, objects=[item]))
    image = zarr.open_group(tmp_path / "out/ome_zarr/a.png.zarr/labels/samft", mode="r")
    sets = image.attrs["ome"]["multiscales"][0]["datasets"]
    for entry in sets:
        (transform,) = entry["coordinateTransformations"]
        step = int(transform["scale"][-1])
        assert np.array_equal(image[entry["path"]][:] > 0, mask[::step, ::step])
    assert image[sets[-1]["path"]].shape == (150, 225)


def test_every_name_of_a_format_can_be_built(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path / "out", list(FORMATS))
    assert len(files.formats) == len(FORMATS)


def test_plain_data_and_back() -> None:
    before = prediction()
    after = ImagePrediction.from_dict(json.loads(json.dumps(before.to_dict())))
    assert after == before
    assert np.array_equal(decode_rle(after.objects[1].rle), two_pieces())
