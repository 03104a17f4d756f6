"""Targets: annotation files in JSON, and the images that they are about."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask

from benchmarks.fuzzing.mutation import mutate_json
from benchmarks.fuzzing.target import Target
from benchmarks.fuzzing.text_mutation import mutate_lines
from benchmarks.fuzzing.whole_sets import SIZE, all_of, draw, png, use_any, use_set
from samft.data.readers.coco import classes_of, read_coco
from samft.data.readers.geojson import read_geojson
from samft.data.readers.labelme import read_labelme
from samft.data.readers.sa1b import read_sa1b
from samft.data.shards.annotations import read_annotations

_HEIGHT, _WIDTH = SIZE
_POLYGON: Final = [1, 1, 6, 1, 6, 6, 1.5, 6]
_RING: Final = [[1, 1], [6, 1], [6, 6], [1, 1]]
_IMAGES: Final = {"a.png": png(), "b.png": png()}
_LABELS: Final = "labels.txt"


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    one = {"a.png": png()}
    return (
        Target("coco", "annotations.json", _coco, _coco_seeds, mutate_json, around=_IMAGES),
        Target("sa1b", "a.json", _sa1b, _sa1b_seeds, mutate_json, around=one),
        Target("shard_annotations", "a.json", _in_shard, _shard_seeds, mutate_json),
        Target("labelme", "a.json", _labelme, _labelme_seeds, mutate_json, around=one),
        Target(
            "labelme_names",
            _LABELS,
            lambda path: use_set("labelme", path.parent),
            lambda _: [b"__ignore__\n_background_\ncell\ndirt\n", b"\xef\xbb\xbfcell\r\nnucleus"],
            mutate_lines,
            around=one | {"a.json": _labelme_seeds(Path())[0]},
        ),
        Target(
            "label_studio",
            "project.json",
            lambda path: use_set("label_studio", path.parent, on_missing="skip"),
            _label_studio_seeds,
            mutate_json,
            around=_IMAGES,
        ),
        Target("geojson", "a.geojson", _geojson, _geojson_seeds, mutate_json, around=one),
        Target(
            "recognised_json",
            "a.json",
            lambda path: use_any(path.parent),
            _seeds_beside_an_image,
            mutate_json,
            around=_IMAGES,
        ),
    )


def _coco(path: Path) -> None:
    def every_object() -> None:
        file = read_coco(path)
        classes_of([file])
        all_of(
            *(
                partial(draw, file.shapes(row), file.size(row), path)
                for row in range(len(file.file_names))
            )
        )

    all_of(every_object, lambda: use_set("coco", path.parent, on_missing="skip"))


def _runs(*, text: bool) -> dict[str, Any]:
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[2:5, 3:7] = 1
    found = coco_mask.encode(mask)
    counts = found["counts"].decode() if text else [32, 3, 7, 3, 7, 3, 7, 3, 55]
    return {"size": [_HEIGHT, _WIDTH], "counts": counts}


def _coco_document() -> dict[str, Any]:
    common = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25.0}
    return {
        "info": {"year": 2024},
        "images": [
            {"id": 1, "file_name": "a.png", "width": _WIDTH, "height": _HEIGHT, "license": 1},
            {"id": 2, "file_name": "b.png", "width": _WIDTH, "height": _HEIGHT},
        ],
        "categories": [
            {"id": 1, "name": "cell", "supercategory": "things"},
            {"id": 2, "name": "crowd"},
        ],
        "annotations": [
            {"id": 1, "iscrowd": 0, "segmentation": [_POLYGON, [7, 7, 9, 7, 9, 9]], **common},
            {"id": 2, "iscrowd": 1, "segmentation": _runs(text=False), **common},
            {"id": 3, "iscrowd": 0, "segmentation": _runs(text=True), **common, "image_id": 2},
        ],
    }


def _coco_seeds(_: Path) -> Sequence[bytes]:
    keyed = _coco_document()
    keyed["annotations"] = {str(one["id"]): one for one in keyed["annotations"]}
    named = _coco_document()
    for image in named["images"]:
        image["id"] = image["file_name"]
        del image["width"]
    for one in named["annotations"]:
        one["image_id"] = "a.png"
        del one["bbox"], one["area"], one["id"]
    return [json.dumps(document).encode() for document in (_coco_document(), keyed, named)]


def _sa1b(path: Path) -> None:
    def every_mask() -> None:
        labelled = read_sa1b(path)
        draw(labelled.shapes, labelled.size, path)

    all_of(every_mask, lambda: use_set("sa1b", path.parent))


def _sa1b_seeds(_: Path) -> Sequence[bytes]:
    image = {"image_id": 1, "file_name": "a.png", "width": _WIDTH, "height": _HEIGHT}
    about = {"bbox": [3, 2, 4, 3], "area": 12, "predicted_iou": 0.9, "stability_score": 0.98,
             "crop_box": [0, 0, _WIDTH, _HEIGHT], "point_coords": [[4.0, 3.0]]}  # fmt: skip
    masks = [
        {"id": 1, "segmentation": _runs(text=True), **about},
        {"id": 2, "segmentation": _runs(text=False), **about},
        {"id": 3, "segmentation": [_POLYGON]},
    ]
    documents = [{"image": image, "annotations": masks}, {"image": {}, "annotations": masks[:1]}]
    return [json.dumps(document).encode() for document in documents]


def _in_shard(path: Path) -> None:
    draw(read_annotations(path.read_bytes(), path).shapes, SIZE, path)


def _shard_seeds(folder: Path) -> Sequence[bytes]:
    document = _coco_document()
    document["samft"] = {"sample_id": "a", "case_id": "a"}
    alone = json.dumps([{"segmentation": _runs(text=True)}]).encode()
    return [json.dumps(document).encode(), alone, *_sa1b_seeds(folder)]


def _labelme(path: Path) -> None:
    def every_shape() -> None:
        file = read_labelme(path)
        if file is not None:
            draw(file.labelled.shapes, file.labelled.size, path)

    all_of(every_shape, lambda: use_set("labelme", path.parent))


def _labelme_seeds(_: Path) -> Sequence[bytes]:
    mask = base64.b64encode(png(mask=True)).decode()
    drawn: list[tuple[str, str | None, list[list[float]]]] = [
        ("cell", "polygon", _RING),
        ("cell", None, _RING),
        ("dirt", "rectangle", [[1, 1], [5, 6]]),
        ("cell", "circle", [[5, 5], [5, 7]]),
        ("__ignore__", "polygon", [[7, 7], [9, 7], [9, 9]]),
        ("_background_", "polygon", [[2, 2], [4, 2], [4, 4]]),
        ("cell", "linestrip", [[2, 2], [4, 2]]),
    ]
    shapes: list[dict[str, Any]] = [
        {"label": label, "points": points, "group_id": number % 2 or None, "shape_type": kind,
         "flags": {}}
        for number, (label, kind, points) in enumerate(drawn)
    ]  # fmt: skip
    masked = {"label": "cell", "points": [[0, 0], [11, 9]], "shape_type": "mask", "mask": mask}
    about = {"version": "5.4.1", "imagePath": "a.png", "imageData": None}
    size = {"imageHeight": _HEIGHT, "imageWidth": _WIDTH}
    documents = [
        about | size | {"shapes": shapes},
        about | size | {"shapes": [*shapes[:1], masked]},
        {"imagePath": None, "shapes": shapes[:2]},
    ]
    return [json.dumps(document).encode() for document in documents]


def _label_studio_seeds(_: Path) -> Sequence[bytes]:
    url = "data:image/png;base64," + base64.b64encode(png(mask=True)).decode()
    values: list[dict[str, Any]] = [
        {"points": [[10, 10], [50, 10], [50, 60]], "polygonlabels": ["cell"]},
        {"x": 5, "y": 5, "width": 40, "height": 30, "rotation": 20, "rectanglelabels": ["dirt"]},
        {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "ellipselabels": ["cell"]},
        {"format": "rle", "rle": list(_brush()), "brushlabels": ["cell"]},
        {"imageDataURL": url, "bitmasklabels": ["cell"]},
        {"vertices": [{"x": 1, "y": 1}, {"x": 50, "y": 1}, {"x": 50, "y": 50}], "closed": True,
         "vectorlabels": ["cell"]},
        {"x": 5, "y": 5, "width": 1, "keypointlabels": ["dirt"]},
    ]  # fmt: skip
    size = {"original_width": _WIDTH, "original_height": _HEIGHT, "image_rotation": 0}
    regions = [
        {"id": f"r{number}", "type": "labels", "value": value, **size}
        for number, value in enumerate(values)
    ]
    times = {"created_at": "2024-01-01T00:00:00Z", "was_cancelled": False}
    tasks = [
        {"id": 1, "data": {"image": "/data/upload/1/0123abcd-a.png"},
         "annotations": [{"id": 1, "result": regions, **times}, {"id": 2, "result": [], **times}]},
        {"id": 2, "data": {"image": "http://host/b.png"},
         "completions": [{"id": 3, "result": regions[:1], "skipped": True}]},
    ]  # fmt: skip
    single = {"id": 1, "completed_by": 1, "result": regions[:2], "task": tasks[0]}
    about = {"annotator": 1, "annotation_id": 1, "lead_time": 2.0}
    short = [{"image": "a.png", "id": 1, **about, "label": [{**values[0], **size}]}]
    return [json.dumps(document).encode() for document in (tasks, tasks[:1], single, short)]


def _brush() -> bytes:
    """Return run lengths of a picture of `SIZE`: the first row of it painted."""
    total, painted = _HEIGHT * _WIDTH * 4, _WIDTH * 4
    bits = f"{total:032b}{7:05b}" + f"{15:04b}" * 4
    for length, value in ((painted, 255), (total - painted, 0)):
        bits += f"1{0:02b}{length - 1:016b}{value:08b}"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _geojson(path: Path) -> None:
    def every_polygon() -> None:
        labelled = read_geojson(path)
        if labelled is not None:
            draw(labelled.shapes, labelled.size, path)

    all_of(every_polygon, lambda: use_set("geojson", path.parent))


def _geojson_seeds(_: Path) -> Sequence[bytes]:
    hole = [[2, 2], [4, 2], [4, 4], [2, 2]]
    far = [[7, 7], [9, 7], [9, 9], [7, 7]]
    geometries: list[dict[str, Any]] = [
        {"type": "Polygon", "coordinates": [_RING, hole]},
        {"type": "MultiPolygon", "coordinates": [[_RING], [far]]},
        {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [far]}]},
        {"type": "Point", "coordinates": [1, 2]},
    ]
    names: list[dict[str, Any] | None] = [
        {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}},
        {"classification": {"names": ["Immune cells", "CD3"]}},
        {"classification": "Ignore*"},
        None,
    ]
    features = [
        {"type": "Feature", "geometry": geometry, "properties": properties}
        for geometry, properties in zip(geometries, names, strict=True)
    ]
    collection = {"type": "FeatureCollection", "features": features}
    return [json.dumps(document).encode() for document in (collection, features, features[0])]


def _seeds_beside_an_image(folder: Path) -> Sequence[bytes]:
    makers = (_sa1b_seeds, _labelme_seeds, _label_studio_seeds, _geojson_seeds)
    return [seed for make in makers for seed in make(folder)]
