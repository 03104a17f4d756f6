"""A detector's boxes from a COCO results file, looked at entry by entry."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samft.data.readers.json_files import kind_of, read_json
from samft.errors import DatasetError

_EXPECTED = "a list of {image_id, category_id, bbox: [x, y, width, height], score}"
_FIX = "write the file as COCO's results format says, or give the numbers with --coco-ids"
_DROPPED = {
    "image": "of images that the data does not have",
    "category": "of categories that the data does not have",
    "number": "with a number that is none (NaN or infinite)",
    "size": "without width or height",
    "outside": "outside the image",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenBox:
    """A box to be segmented.

    Args:
        box: xyxy, the centres of the outermost pixels, original frame, as of a tight box.
        score: The detector's.
        class_index: Index into the data's classes; 0 where it has none.
    """

    box: tuple[float, float, float, float]
    score: float
    class_index: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxIds:
    """What the numbers and names in a results file stand for.

    Args:
        images: The sample's id by `image_id`, a number or a name.
        categories: Index into the data's classes by `category_id`; empty if the data has no
            classes, and then every category is taken.
    """

    images: Mapping[int | str, str]
    categories: Mapping[int | str, int]


@dataclass(kw_only=True, slots=True)
class DetectedBoxes:
    """The boxes of a file.

    Args:
        by_image: By sample id, in the order of the file.
        dropped: How many entries were left out, by reason.
    """

    by_image: dict[str, list[GivenBox]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)

    def copy(self) -> DetectedBoxes:
        """Return the same boxes with counts of their own, which `inside` adds to."""
        return DetectedBoxes(by_image=self.by_image, dropped=Counter(self.dropped))

    def notes(self) -> list[str]:
        """Say what was left out, a sentence for each reason."""
        return [
            f"boxes {_DROPPED[reason]} were left out: {number}"
            for reason, number in sorted(self.dropped.items())
        ]

    def inside(self, sample_id: str, size: tuple[int, int]) -> list[GivenBox]:
        """Return the boxes of an image, cut at its border; what lies outside is dropped, counted.

        Args:
            sample_id: The image.
            size: Its (height, width), pixels.
        """
        kept = []
        for given in self.by_image.get(sample_id, ()):
            x0, y0, x1, y1 = given.box
            right, bottom = size[1] - 1, size[0] - 1
            if x1 < 0 or y1 < 0 or x0 > right or y0 > bottom:
                self.dropped["outside"] += 1
                continue
            box = (max(x0, 0.0), max(y0, 0.0), min(x1, right), min(y1, bottom))
            kept.append(GivenBox(box=box, score=given.score, class_index=given.class_index))
        return kept


def read_boxes(path: Path, ids: BoxIds) -> DetectedBoxes:
    """Read a results file.

    What cannot be meant (an image or category that the data does not have, NaN, a box without
    area) is left out and counted; what is no results file at all is refused.

    Args:
        path: The file.
        ids: What its numbers stand for.

    Raises:
        DatasetError: if it is no list of boxes, an entry is malformed, or none can be used.
    """
    content = read_json(path, _EXPECTED)
    if not isinstance(content, list):
        raise DatasetError(
            "this is no results file",
            where=path,
            found=kind_of(content),
            expected=_EXPECTED,
            fix="give a detector's results; the true boxes are taken where there is no --boxes",
        )
    boxes = DetectedBoxes()
    for number, entry in enumerate(content):
        _add(boxes, _checked(entry, path, number), ids)
    if not boxes.by_image:
        found = "; ".join(boxes.notes()) or "an empty list"
        raise DatasetError("no box of the file can be used", where=path, found=found, fix=_FIX)
    return boxes


def _checked(entry: Any, path: Path, number: int) -> dict[str, Any]:  # Any: JSON
    """Return an entry in which every field is there and of its type."""
    if not isinstance(entry, dict):
        raise _malformed(path, number, kind_of(entry))
    for name in ("image_id", "category_id", "bbox", "score"):
        if name not in entry:
            raise _malformed(path, number, f"no {name}")
    for name, kinds in (("image_id", (int, str)), ("category_id", (int, str)), ("score", _NUMBER)):
        if not isinstance(entry[name], kinds) or isinstance(entry[name], bool):
            raise _malformed(path, number, f"{name} {entry[name]!r}")
    bbox = entry["bbox"]
    right = isinstance(bbox, list) and len(bbox) == 4
    if not right or not all(isinstance(v, _NUMBER) and not isinstance(v, bool) for v in bbox):
        raise _malformed(path, number, f"bbox {bbox!r}")
    return entry


_NUMBER = (int, float)


def _malformed(path: Path, number: int, found: str) -> DatasetError:
    short = found if len(found) <= 80 else f"{found[:77]}..."
    return DatasetError(
        "an entry of the results file is malformed",
        where=f"{path}, entry {number}",
        found=short,
        expected="image_id, category_id, bbox of four numbers, score",
    )


def _add(boxes: DetectedBoxes, entry: Mapping[str, Any], ids: BoxIds) -> None:  # Any: JSON
    reason = _reason_to_drop(entry, ids)
    if reason is not None:
        boxes.dropped[reason] += 1
        return
    x, y, width, height = (float(value) for value in entry["bbox"])
    # COCO's box is between pixels, samft's runs through the centres of the outermost ones.
    box = (x, y, max(x, x + width - 1), max(y, y + height - 1))
    given = GivenBox(
        box=box,
        score=float(entry["score"]),
        class_index=ids.categories.get(entry["category_id"], 0),
    )
    boxes.by_image.setdefault(ids.images[entry["image_id"]], []).append(given)


def _reason_to_drop(entry: Mapping[str, Any], ids: BoxIds) -> str | None:  # Any: JSON
    if entry["image_id"] not in ids.images:
        return "image"
    if ids.categories and entry["category_id"] not in ids.categories:
        return "category"
    numbers: Sequence[float] = (*entry["bbox"], entry["score"])
    if not all(_is_finite(value) for value in numbers):
        return "number"
    return "size" if min(entry["bbox"][2:]) <= 0 else None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False
