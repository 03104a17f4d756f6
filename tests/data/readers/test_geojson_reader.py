"""GeoJSON of QuPath, and of `samft predict`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samft.data.readers.geojson import is_geojson, read_geojson
from samft.data.shapes import ShapeTruth
from samft.errors import DatasetError
from samft.inference.polygons import mask_polygons

SQUARE = [[2, 2], [10, 2], [10, 10], [2, 10], [2, 2]]
HOLE = [[4, 4], [4, 6], [6, 6], [6, 4], [4, 4]]


def feature(geometry: Any, **properties: Any) -> dict[str, Any]:
    """Return a feature with the keys that QuPath 0.5 writes."""
    return {"type": "Feature", "id": "0f2c", "geometry": geometry,
            "properties": {"objectType": "annotation", **properties}}  # fmt: skip


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def classified(name: Any) -> dict[str, Any]:
    return {"classification": {"name": name, "color": [200, 0, 0]}}


def write(folder: Path, content: Any) -> Path:
    path = folder / "a.geojson"
    path.write_text(json.dumps(content))
    return path


def collection(*features: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def masks(path: Path, size: tuple[int, int] = (20, 20)) -> list[np.ndarray]:
    found = read_geojson(path)
    assert found is not None
    names = sorted({shape.class_name for shape in found.shapes})
    objects = ShapeTruth(found.shapes, size, {n: i for i, n in enumerate(names)}).objects("value")
    return [objects.layers[layer] == k + 1 for k, layer in enumerate(objects.object_layer)]


def test_polygons_with_holes_and_classes(tmp_path: Path) -> None:
    path = write(tmp_path, collection(feature(polygon(SQUARE, HOLE), **classified("Tumor"))))
    found = read_geojson(path)
    assert found is not None
    (shape,) = found.shapes
    assert shape.class_name == "Tumor"
    assert shape.outer[0].tolist() == SQUARE[:-1]
    assert [int(mask.sum()) for mask in masks(path)] == [64 - 4]


@pytest.mark.parametrize("wrap", [lambda item: item, lambda item: [item, item], collection])
def test_a_feature_a_list_and_a_collection(tmp_path: Path, wrap: Any) -> None:
    content = wrap(feature(polygon(SQUARE)))
    assert is_geojson(content)
    assert len(masks(write(tmp_path, content))) == (2 if isinstance(content, list) else 1)


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({}, "object"),
        (classified("Stroma"), "Stroma"),
        ({"classification": {"name": "Stroma", "colorRGB": -6895466}}, "Stroma"),
        (
            {"classification": {"names": ["Tumor", "Positive"], "color": [1, 2, 3]}},
            "Tumor: Positive",
        ),
        ({"classification": "gland"}, "gland"),
        ({"classification": None, "name": "prompt 7"}, "object"),
        ({"label": "gland"}, "gland"),
    ],
)
def test_names_of_classes(tmp_path: Path, properties: dict[str, Any], name: str) -> None:
    found = read_geojson(write(tmp_path, collection(feature(polygon(SQUARE), **properties))))
    assert found is not None
    assert [shape.class_name for shape in found.shapes] == [name]


def test_a_multipolygon_is_one_object_with_islands_in_its_holes(tmp_path: Path) -> None:
    island = [[4, 4], [5, 4], [5, 5], [4, 5], [4, 4]]
    geometry = {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [island]]}
    path = write(tmp_path, collection(feature(geometry), feature(polygon(island))))
    assert [int(mask.sum()) for mask in masks(path)] == [64 - 4 + 1, 1]


def test_collections_of_geometries_heights_and_what_has_no_area(tmp_path: Path) -> None:
    high = [[x, y, 0.0] for x, y in SQUARE]
    mixed = {"type": "GeometryCollection", "geometries": [polygon(high),
             {"type": "Point", "coordinates": [1, 1]}]}  # fmt: skip
    line = {"type": "LineString", "coordinates": [[1, 1], [2, 2]]}
    path = write(tmp_path, collection(feature(mixed), feature(line), feature(None)))
    found = read_geojson(path)
    assert found is not None
    assert len(found.shapes) == 1
    assert found.left_out == {
        "Point, which has no area": 1,
        "LineString, which has no area": 1,
        "feature without geometry": 1,
    }


def test_a_region_to_ignore_is_unknown(tmp_path: Path) -> None:
    found = read_geojson(
        write(tmp_path, collection(feature(polygon(SQUARE), **classified("Ignore*"))))
    )
    assert found is not None
    assert found.shapes[0].unknown


def test_masks_come_back_from_what_predict_writes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    mask = rng.random((24, 31)) < 0.55
    pieces = [[piece.outline, *piece.holes] for piece in mask_polygons(mask)]
    path = write(tmp_path, collection(feature({"type": "MultiPolygon", "coordinates": pieces})))
    (back,) = masks(path, mask.shape)
    assert np.array_equal(back, mask)


def test_other_json_is_told_apart(tmp_path: Path) -> None:
    assert read_geojson(write(tmp_path, {"shapes": [], "imagePath": "a.png"})) is None
    assert not is_geojson([])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (collection("x"), "no features"),
        ({"type": "FeatureCollection", "features": {}}, "no features"),
        (collection(feature(7)), "geometry that is a int"),
        (collection(feature({"type": "Ring", "coordinates": []})), "type 'Ring'"),
        (collection(feature({"type": "Polygon", "coordinates": 3})), "no list"),
        (collection(feature(polygon(3))), "no list of positions"),
        (collection(feature(polygon([1, 2, 3]))), "no list of positions"),
        (collection(feature({"type": "MultiPolygon", "coordinates": [3]})), "without rings"),
        (collection(feature(polygon([["a", 1], [1, 2], [2, 3]]))), "no numbers"),
        (
            collection({"type": "Feature", "geometry": polygon(SQUARE), "properties": 3}),
            "no object",
        ),
    ],
)
def test_wrong_types_are_refused(tmp_path: Path, content: Any, text: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_geojson(path)
    assert text in str(caught.value.found)
    assert caught.value.where == path


def test_geometries_in_each_other_without_end(tmp_path: Path) -> None:
    geometry: dict[str, Any] = polygon(SQUARE)
    for _ in range(20):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    with pytest.raises(DatasetError, match="cannot be read"):
        read_geojson(write(tmp_path, collection(feature(geometry))))
