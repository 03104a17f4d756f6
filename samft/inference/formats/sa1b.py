"""SA-1B: one JSON file per image, as the data set of the Segment Anything paper has them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from samft.inference.formats.base import ResultFormat
from samft.inference.predictions import ImagePrediction, ObjectPrediction, rle_area, rle_box
from samft.inference.records import to_sa1b

_ID_BITS = 31  # readers store it in an int32


class Sa1bJson(ResultFormat):
    """`sa1b/<name>.json`.

    Answers to prompts of a file have no `stability_score`: it is measured for automatic masks.
    """

    def write_image(self, prediction: ImagePrediction) -> list[Path]:
        """See `ResultFormat`."""
        document = to_sa1b(
            [_record(item, prediction.size) for item in prediction.objects],
            image_id=image_number(prediction.sample_id),
            file_name=prediction.sample_id,
            size=prediction.size,
        )
        place = self.folder.place("sa1b", prediction.sample_id, ".json")
        text = json.dumps(document)
        return [self.folder.write(place, lambda path: path.write_text(text, encoding="utf-8"))]


def image_number(name: str) -> int:
    """Return a number for an image that depends on its name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> (32 - _ID_BITS)


def _record(item: ObjectPrediction, size: tuple[int, int]) -> dict[str, Any]:
    if item.measures:
        return {"segmentation": item.rle, **item.measures}
    height, width = size
    record = {
        "segmentation": item.rle,
        "area": rle_area(item.rle),
        "bbox": rle_box(item.rle),
        "predicted_iou": item.score,
        "point_coords": item.prompt.get("points", []),
        "crop_box": [0, 0, width, height],
    }
    return {**record, "box_coords": item.prompt["box"]} if "box" in item.prompt else record
