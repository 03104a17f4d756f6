"""GeoJSON polygons in pixels, as QuPath and `samft predict` write them.

Coordinates are continuous, from the upper left corner of the image at full resolution, y down.

Source: RFC 7946, sections 3.1 to 3.3; the properties are those of QuPath 0.2 to 0.6.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import UNNAMED
from samft.data.readers.json_files import read_json
from samft.data.readers.limits import unreadable
from samft.data.readers.outlines import LabelledImage, Outlines
from samft.data.shapes import Shape

EXPECTED = "GeoJSON"
IGNORED = "Ignore*"
"""QuPath's class for regions that its own training of classifiers leaves out."""

_NO_AREA: Final = ("Point", "MultiPoint", "LineString", "MultiLineString")
_NAMES: Final = ("classification", "class", "class_name", "label", "category")


def is_geojson(content: object) -> bool:
    """Tell whether parsed JSON is GeoJSON: a collection, a feature, or QuPath's list of them."""
    if isinstance(content, list):
        return bool(content) and all(_is_feature(item) for item in content[:3])
    if not isinstance(content, dict):
        return False
    collection = content.get("type") == "FeatureCollection"
    return (collection and "features" in content) or _is_feature(content)


def read_geojson(path: Path) -> LabelledImage | None:
    """Read the polygons of a file, with their holes; a MultiPolygon is one object.

    Returns:
        What it says; `None` if it is well made JSON but not GeoJSON.

    Raises:
        DatasetError: if it is damaged.
    """
    content = read_json(path, EXPECTED)
    if not is_geojson(content):
        return None
    found = Outlines(path)
    for number, feature in enumerate(_features(content, path)):
        _add(found, feature, number)
    return found.labelled()


def _is_feature(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") == "Feature" and "geometry" in item


def _features(content: Any, path: Path) -> Iterable[Mapping[str, Any]]:
    features = content
    if isinstance(content, dict):
        features = content.get("features", [content])
    if not isinstance(features, list) or not all(_is_feature(item) for item in features):
        raise unreadable(path, "features that are no features", "a list of GeoJSON features")
    return features


def _add(found: Outlines, feature: Mapping[str, Any], number: int) -> None:
    name = _class_name(feature.get("properties"), found.path)
    polygons = list(_polygons(found, feature["geometry"], depth=0))
    # Of their own, so that the hole of one does not cut out an island in it, which is another.
    group = f"feature {number}" if len(polygons) > 1 else None
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise unreadable(found.path, "a polygon without rings", EXPECTED)
        rings = [_ring(found, positions) for positions in polygon]
        if rings and rings[0] is not None:
            found.shapes.append(
                Shape(
                    class_name=name,
                    outer=(rings[0],),
                    holes=tuple(ring for ring in rings[1:] if ring is not None),
                    unknown=name == IGNORED,
                    group=group,
                )
            )


def _polygons(found: Outlines, geometry: object, *, depth: int) -> Iterator[object]:
    """Yield the coordinates of the polygons of a geometry."""
    if geometry is None:  # RFC 7946: a feature that is nowhere
        found.leave_out("feature without geometry")
        return
    if not isinstance(geometry, dict) or depth > 8:
        raise unreadable(found.path, f"a geometry that is a {type(geometry).__name__}", EXPECTED)
    kind = geometry.get("type")
    if kind in _NO_AREA:
        found.leave_out(f"{kind}, which has no area")
        return
    if kind == "GeometryCollection":
        for part in _list(found, geometry, "geometries"):
            yield from _polygons(found, part, depth=depth + 1)
    elif kind == "MultiPolygon":
        yield from _list(found, geometry, "coordinates")
    elif kind == "Polygon":
        yield _list(found, geometry, "coordinates")
    else:
        raise unreadable(found.path, f"a geometry of type {kind!r}"[:60], EXPECTED)


def _list(found: Outlines, geometry: Mapping[str, Any], key: str) -> list[Any]:
    value = geometry.get(key)
    if not isinstance(value, list):
        raise unreadable(found.path, f"{key} that are no list", EXPECTED)
    return value


def _ring(found: Outlines, positions: object) -> NDArray[np.float64] | None:
    if not isinstance(positions, list) or not all(isinstance(p, list) for p in positions):
        raise unreadable(found.path, "a ring that is no list of positions", EXPECTED)
    return found.ring([position[:2] for position in positions])  # a third number is a height


def _class_name(properties: object, path: Path) -> str:
    if properties is None:
        return UNNAMED
    if not isinstance(properties, dict):
        raise unreadable(path, "properties that are no object", EXPECTED)
    for key in _NAMES:
        name = _name_of(properties.get(key))
        if name:
            return name
    return UNNAMED


def _name_of(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("name") or value.get("names")
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ": ".join(value)  # QuPath's own way to write a class derived from another
    return value.strip() if isinstance(value, str) else ""
