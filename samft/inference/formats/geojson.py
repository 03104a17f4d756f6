"""GeoJSON polygons, as QuPath reads and writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samft.inference.formats.base import ResultFormat
from samft.inference.overlay import PALETTE
from samft.inference.polygons import Polygon, mask_polygons
from samft.inference.predictions import ImagePrediction, ObjectPrediction, decode_rle


class GeoJson(ResultFormat):
    """`geojson/<name>.geojson`: one feature per object, its outline along the edges of its pixels.

    Coordinates are those of QuPath: the top left corner of the image is (0, 0), x goes right and y
    down, in pixels. Holes are kept; an object in several pieces is a MultiPolygon.

    Source: RFC 7946, sections 3.1.6 and 3.1.7.
    """

    def write_image(self, prediction: ImagePrediction) -> list[Path]:
        """See `ResultFormat`."""
        features = [
            feature
            for number, item in enumerate(prediction.objects)
            if (feature := _feature(item, number)) is not None
        ]
        document = {"type": "FeatureCollection", "features": features}
        place = self.folder.place("geojson", prediction.sample_id, ".geojson")
        text = json.dumps(document)
        return [self.folder.write(place, lambda path: path.write_text(text, encoding="utf-8"))]


def _feature(item: ObjectPrediction, number: int) -> dict[str, Any] | None:
    polygons = mask_polygons(decode_rle(item.rle))
    if not polygons:
        return None  # an empty mask has no outline, and GeoJSON no empty polygon
    properties: dict[str, Any] = {
        "objectType": "annotation",
        "name": str(item.prompt_id),
        "measurements": {"predicted IoU": item.score},
    }
    if item.class_name is not None:
        colour = list(PALETTE[sum(item.class_name.encode()) % len(PALETTE)])
        properties["classification"] = {"name": item.class_name, "color": colour}
    return {
        "type": "Feature",
        "id": number + 1,
        "geometry": _geometry(polygons),
        "properties": properties,
    }


def _geometry(polygons: list[Polygon]) -> dict[str, Any]:
    rings = [[polygon.outline, *polygon.holes] for polygon in polygons]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}
