"""The label files of samples in shards: JSON with an outline for each object."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.data.classes import UNNAMED
from samft.data.readers.limits import reading, unreadable
from samft.data.readers.segmentation import pack, unpack
from samft.data.shapes import Shape

_log = logging.getLogger(__name__)
_said: set[str] = set()
_EXPECTED = "JSON with annotations, each with a segmentation, as in SA-1B"


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotations:
    """What the label file of one image says.

    Args:
        shapes: The objects.
        about: What samft wrote of the sample when it packed it, by name.
    """

    shapes: tuple[Shape, ...]
    about: Mapping[str, Any]


def read_annotations(content: bytes, where: Path) -> Annotations:
    """Parse the label file of one image, as SA-1B has them, or COCO's annotations of it.

    Classes are those of `categories` in the same file; without, every object is of the one class.

    Args:
        content: The file.
        where: Its name, for messages.

    Raises:
        DatasetError: if it is damaged.

    Source: https://ai.meta.com/datasets/segment-anything-downloads (README)
    """
    with reading(where, _EXPECTED):
        document = json.loads(content.decode("utf-8-sig"))
    entries = document.get("annotations") if isinstance(document, dict) else document
    if not isinstance(entries, list):
        raise unreadable(where, "no list of annotations", _EXPECTED)
    about = document.get("samft", {}) if isinstance(document, dict) else {}
    names = _categories(document, where)
    shapes = [_shape(number, entry, names, where) for number, entry in enumerate(entries)]
    kept = tuple(shape for shape in shapes if shape is not None)
    if len(kept) < len(shapes):
        _say_once("annotations without an outline are left out, first: %s", where)
    return Annotations(shapes=kept, about=about if isinstance(about, dict) else {})


def _categories(document: object, where: Path) -> dict[object, str]:
    listed = document.get("categories", []) if isinstance(document, dict) else []
    try:
        return {entry["id"]: str(entry["name"]) for entry in listed}
    except (KeyError, RecursionError, TypeError) as error:
        raise unreadable(where, "a category without id and name", _EXPECTED) from error


def _shape(number: int, entry: object, names: Mapping[object, str], where: Path) -> Shape | None:
    if not isinstance(entry, dict):
        raise unreadable(where, f"annotation {number + 1} is no object", _EXPECTED)
    name = UNNAMED
    category = entry.get("category_id")
    if names:
        if not isinstance(category, int | str) or category not in names:
            found = f"annotation {number + 1}: category {category!r:.40}"
            raise unreadable(where, found, f"one of {sorted(map(str, names))[:10]}")
        name = names[category]
    try:
        packed = pack(entry.get("segmentation") or [])
    except ValueError as error:
        raise unreadable(where, f"annotation {number + 1}: {error}", _EXPECTED) from error
    if not packed.data:
        return None
    outline = unpack(packed.data)
    return Shape(
        class_name=name,
        outer=outline.rings,
        rle=outline.rle,
        unknown=bool(entry.get("iscrowd")),
    )


def _say_once(message: str, where: Path) -> None:
    # There are millions of these files, and a worker reads thousands of them.
    if message not in _said:
        _said.add(message)
        _log.warning(message, where)
