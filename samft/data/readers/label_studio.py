"""Label Studio's exports: JSON (a task each), JSON-MIN (an annotation each), one annotation alone.

Positions are in percent of the image. Regions are brush masks, bitmasks, polygons, closed paths,
rectangles and ellipses; whatever else is drawn is counted.

Source: https://labelstud.io/guide/export, https://labelstud.io/guide/task_format
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from samft.data.readers.image import IMAGE_SUFFIXES
from samft.data.readers.json_files import as_list, both_ends, read_json
from samft.data.readers.label_studio_regions import Region, regions_of
from samft.data.readers.limits import unreadable

_EXPECTED = "an export of Label Studio (JSON or JSON-MIN)"
_NO_IMAGE = "tasks without an image"
_IMAGE_KEYS = ("image", "img", "picture", "photo", "url")
_MIN_KEYS = ("annotation_id", "annotator", "lead_time")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelStudioImage:
    """What an export says about one image.

    Args:
        name: Path or URL as the task has it.
        regions: What is drawn on it.
        annotated: Whether somebody has submitted an annotation, possibly an empty one.
        skipped: Whether all annotations are cancelled.
        newest: Says which of two annotations of an image is newer.
        several: Whether other annotations of the same task were left aside.
    """

    name: str
    regions: tuple[Region, ...] = ()
    annotated: bool = True
    skipped: bool = False
    newest: tuple[str, int] = ("", 0)
    several: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelStudioExport:
    """What an export says.

    Args:
        images: In the order of the file.
        left_out: What was drawn but is no outline, with its count.
    """

    images: tuple[LabelStudioImage, ...]
    left_out: Counter[str]


def is_label_studio(document: object) -> bool:
    """Tell whether a JSON document is an export."""
    if isinstance(document, dict):
        return _is_single(document)
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        return False
    return _is_task(document[0]) or _is_min(document[0])


def looks_like_label_studio(path: Path) -> bool:
    """Tell from both ends of a JSON file, whatever its size, whether it is an export."""
    head, tail = both_ends(path)
    seen = head + tail
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return b'"result"' in seen and b'"task"' in seen and b'"completed_by"' in seen
    full = b'"data"' in seen and (b'"annotations"' in seen or b'"completions"' in seen)
    return (full and b'"result"' in seen) or (b'"annotator"' in seen and b'"lead_time"' in seen)


def read_label_studio(path: Path) -> LabelStudioExport:
    """Read an export.

    Of several annotations of a task the newest that is not cancelled counts; predictions do not.

    Args:
        path: The JSON file.

    Raises:
        DatasetError: if it is damaged or something else.
    """
    document = read_json(path, _EXPECTED, hook=_compact)
    if isinstance(document, dict):
        document = [document]
    left_out: Counter[str] = Counter()
    images: list[LabelStudioImage] = []
    for position, task in enumerate(as_list(document, "tasks", path, _EXPECTED), start=1):
        if not isinstance(task, dict):
            raise unreadable(path, f"task {position} is no object", _EXPECTED)
        images += _images_of(path, position, task, left_out)
    return LabelStudioExport(images=tuple(images), left_out=left_out)


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    """Pack a brush's numbers as soon as they are parsed, and forget what is not read."""
    rle = entry.get("rle")
    if isinstance(rle, list):
        try:
            entry["rle"] = bytes(rle)
        except (TypeError, ValueError):
            entry["rle"] = None  # refused where the region is read
    for key in ("predictions", "touches", "maskDataURL"):
        entry.pop(key, None)
    return entry


def _is_task(task: Mapping[str, Any]) -> bool:
    listed = task.get("annotations", task.get("completions"))
    return isinstance(task.get("data"), dict) and isinstance(listed, list)


def _is_min(task: Mapping[str, Any]) -> bool:
    return sum(key in task for key in _MIN_KEYS) >= 2 and "data" not in task


def _is_single(document: Mapping[str, Any]) -> bool:
    task = document.get("task")
    alone = isinstance(document.get("result"), list) and isinstance(task, dict)
    return (alone and isinstance(task, dict) and isinstance(task.get("data"), dict)) or _is_task(
        document
    )


def _images_of(
    path: Path, position: int, task: dict[str, Any], left_out: Counter[str]
) -> Iterator[LabelStudioImage]:
    if _is_min(task):
        data, listed = task, [_from_min(task)]
    elif _is_task(task):
        data, listed = task["data"], task.get("annotations") or task.get("completions") or []
    elif _is_single(task):
        data, listed = task["task"]["data"], [task]
    else:
        raise unreadable(path, f"task {position} without data and annotations", _EXPECTED)
    names = _names(data)
    if not names:
        left_out[_NO_IMAGE] += 1
        return
    valid = [item for item in listed if isinstance(item, dict)]
    if len(valid) != len(listed):
        raise unreadable(path, f"task {position} with an annotation that is no object", _EXPECTED)
    sound = [a for a in valid if not a.get("was_cancelled") and not a.get("skipped")]
    best = max(enumerate(sound), key=lambda pair: (_age(pair[1]), pair[0]), default=None)
    if best is None:
        for name in names:
            yield LabelStudioImage(name=name, annotated=False, skipped=bool(valid))
        return
    result = as_list(best[1].get("result", []), "result", path, _EXPECTED)
    regions = regions_of(path, f"task {position}", result, left_out)
    for number, name in enumerate(names):
        yield LabelStudioImage(
            name=name,
            regions=tuple(region for region in regions if region.item == number),
            newest=_age(best[1]),
            several=len(sound) > 1,
        )


def _from_min(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of JSON-MIN as an annotation: its regions lie under the names of the tags."""
    result = [
        {**item, "value": item}
        for value in task.values()
        if isinstance(value, list)
        for item in value
        if isinstance(item, dict)
    ]
    times = {key: task.get(key) for key in ("created_at", "updated_at")}
    return {"id": task.get("annotation_id"), "result": result, **times}


def _age(annotation: Mapping[str, Any]) -> tuple[str, int]:
    when = annotation.get("updated_at") or annotation.get("created_at")
    number = annotation.get("id")
    return (
        when if isinstance(when, str) else "",
        number if isinstance(number, int) else 0,
    )


def _names(data: Mapping[str, Any]) -> list[str]:
    """Return the images of a task: one, or a list of pages."""
    keys = [*(key for key in _IMAGE_KEYS if key in data), *data]
    for key in keys:
        value = data[key]
        names = value if isinstance(value, list) else [value]
        if names and all(isinstance(name, str) and _is_image(name) for name in names):
            return list(names)
    return []


def _is_image(name: str) -> bool:
    try:
        parts = urlsplit(name)
    except ValueError:
        return False
    ends = (parts.path.lower(), parts.query.lower(), name.lower())
    return not name.startswith("data:") and any(e.endswith(tuple(IMAGE_SUFFIXES)) for e in ends)
