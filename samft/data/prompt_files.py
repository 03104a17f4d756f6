"""Prompts that somebody recorded, from JSON or CSV, in pixels of the original images."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

from samft.data.readers.limits import check_file_size
from samft.data.recorded_prompt import RecordedPrompt, Size, checked_prompt
from samft.errors import PromptError, did_you_mean
from samft.types import POSITIVE

Key = TypeVar("Key")
"""What stands for an image: its path, or the name of a slice."""
SizeOf = Callable[[Key], Size | None]
"""Returns (height, width) of an image, or `None` if it cannot be read."""

_KEYS = ("box", "points", "labels", "id", "class")
_BOX_COLUMNS = ("x1", "y1", "x2", "y2")
_COLUMNS = ("image", *_BOX_COLUMNS, "x", "y", "label", "object", "class")


def read_prompts(
    path: Path, images: Mapping[str, Key], size_of: SizeOf[Key]
) -> dict[Key, list[RecordedPrompt]]:
    """Read a prompt file.

    JSON maps image names to lists of `{"box": [x1, y1, x2, y2], "points": [[x, y], ...],
    "labels": [1, 0, ...], "id": ..., "class": ...}`, each with a box or points or both; CSV has the
    column `image` and `x1,y1,x2,y2` or `x,y,label`, and rows of one image with the same `object`
    form one prompt.

    Args:
        path: The file, `.json` or `.csv`.
        images: The images that may be named, by relative path or file name. Names in the file are
            only looked up here, never opened, so they cannot lead anywhere else.
        size_of: Returns (height, width) of an image, to check coordinates; those of an image that
            cannot be read are not checked.

    Returns:
        The prompts of every image that has any.

    Raises:
        PromptError: naming file, line or key of the first mistake.
    """
    readers = {".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise PromptError(
            "the prompt file is neither JSON nor CSV",
            where=path,
            found=path.suffix or "no ending",
            expected=".json or .csv",
        )
    try:
        check_file_size(path)
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(
            "the prompt file cannot be read",
            where=path,
            found=str(error).splitlines()[0],
            expected="a text file in UTF-8",
        ) from error
    try:
        return reader(path, text, images, size_of)
    except (csv.Error, RecursionError) as error:
        raise PromptError(
            f"the prompt file is no valid {path.suffix[1:].upper()}", where=path, found=error
        ) from error


def _read_json(
    path: Path, text: str, images: Mapping[str, Key], size_of: SizeOf[Key]
) -> dict[Key, list[RecordedPrompt]]:
    try:
        content = json.loads(text)
    except ValueError as error:  # also of a number with thousands of digits
        raise PromptError(
            "the prompt file is no valid JSON", where=path, found=str(error)[:160]
        ) from error
    if not isinstance(content, dict):
        raise PromptError(
            "the prompt file does not map images to prompts",
            where=path,
            found=_kind(content),
            expected='{"a.jpg": [{"box": [x1, y1, x2, y2]}]}',
        )
    found: dict[Key, list[RecordedPrompt]] = {}
    for name, entries in content.items():
        image = _image(images, name, f"{path}: {name!r}")
        if not isinstance(entries, list):
            raise PromptError(
                "an image's prompts are no list",
                where=f"{path}: {name!r}",
                found=_kind(entries),
                expected="a list of objects with box or points",
            )
        size = size_of(image)
        prompts = [
            _json_prompt(entry, f"{path}: {name!r}[{i}]", size, number=i + 1)
            for i, entry in enumerate(entries)
        ]
        found.setdefault(image, []).extend(prompts)
    return found


def _json_prompt(entry: Any, where: str, size: Size | None, *, number: int) -> RecordedPrompt:
    if not isinstance(entry, dict):
        raise PromptError(
            "a prompt is no object",
            where=where,
            found=_kind(entry),
            expected='{"box": [x1, y1, x2, y2]} or {"points": [[x, y]], "labels": [1]}',
        )
    for key in entry:
        if key not in _KEYS:
            raise PromptError(
                f"unknown key {key!r} in a prompt", where=where, fix=did_you_mean(key, _KEYS)
            )
    points = entry.get("points") or []
    if not isinstance(points, list):
        raise PromptError(
            "points are no list", where=where, found=_kind(points), expected="[[x, y], ...]"
        )
    labels = entry.get("labels", [POSITIVE] * len(points))
    if not isinstance(labels, list) or len(labels) != len(points):
        raise PromptError(
            "points and labels differ in number",
            where=where,
            found=f"{len(points)} points, {len(labels) if isinstance(labels, list) else labels}"
            " labels",
            expected="one label per point: 1 object, 0 background",
        )
    return checked_prompt(
        where,
        size,
        box=entry.get("box"),
        points=points,
        labels=labels,
        prompt_id=entry.get("id", number),
        class_name=entry.get("class"),
        object_id=entry.get("id"),
    )


@dataclass(slots=True)
class _Rows(Generic[Key]):
    """The rows of a CSV file that belong to one prompt."""

    image: Key
    where: str
    box: list[str] | None
    points: list[list[str]]
    labels: list[str]
    prompt_id: str | int
    class_name: str | None
    object_id: str | None


def _read_csv(
    path: Path, text: str, images: Mapping[str, Key], size_of: SizeOf[Key]
) -> dict[Key, list[RecordedPrompt]]:
    reader = csv.DictReader(text.splitlines(), strict=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    _check_columns(path, columns)
    grouped: dict[tuple[Key, str], _Rows[Key]] = {}
    counts: Counter[Key] = Counter()
    for row in reader:
        where = f"{path}: line {reader.line_num}"
        values = {key: (row.get(key) or "").strip() for key in columns}
        image = _image(images, values["image"], where)
        key = image, values.get("object") or f"line {reader.line_num}"
        counts[image] += key not in grouped
        number = counts[image]
        named, kind = values.get("object") or None, values.get("class") or None
        fresh = _Rows(image, where, None, [], [], named or number, kind, named)
        _add_row(grouped.setdefault(key, fresh), values, where)
    found: dict[Key, list[RecordedPrompt]] = {}
    for rows in grouped.values():
        prompt = checked_prompt(
            rows.where,
            size_of(rows.image),
            box=rows.box,
            points=rows.points,
            labels=rows.labels,
            prompt_id=rows.prompt_id,
            class_name=rows.class_name,
            object_id=rows.object_id,
        )
        found.setdefault(rows.image, []).append(prompt)
    return found


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    for name in columns:
        if name not in _COLUMNS:
            raise PromptError(
                f"unknown column {name!r}",
                where=f"{path}: line 1",
                fix=did_you_mean(name, _COLUMNS),
            )
    boxes, points = set(_BOX_COLUMNS) <= set(columns), {"x", "y"} <= set(columns)
    if "image" not in columns or not (boxes or points):
        raise PromptError(
            "columns are missing",
            where=f"{path}: line 1",
            found=", ".join(columns) or "an empty file",
            expected="image and x1,y1,x2,y2, or image and x,y,label",
        )


def _add_row(rows: _Rows[Key], values: Mapping[str, str], where: str) -> None:
    box = [values.get(name, "") for name in _BOX_COLUMNS]
    point = [values.get("x", ""), values.get("y", "")]
    if any(box):
        if rows.box is not None:
            raise PromptError(
                "an object has two boxes",
                where=where,
                found=f"another row of object {rows.prompt_id!r} has one",
                fix="give every object a name of its own in the column object",
            )
        rows.box = box
    if any(point):
        rows.points.append(point)
        rows.labels.append(values.get("label") or str(POSITIVE))
    if not any(box) and not any(point):
        raise PromptError(
            "a row has neither box nor point", where=where, expected="x1,y1,x2,y2 or x,y"
        )


def _image(images: Mapping[str, Key], name: str, where: str) -> Key:
    path = images.get(name.replace("\\", "/"))
    if path is None:
        # Not all names: there may be thousands.
        close = get_close_matches(name, images, n=1) or list(images)[:1]
        raise PromptError(
            f"there is no image {name!r} in the source",
            where=where,
            found=f"{len(set(images.values()))} images",
            fix=f"use the path below the source, such as {close[0]!r}" if close else None,
        )
    return path


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value), repr(value))
