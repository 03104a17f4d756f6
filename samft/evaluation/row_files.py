"""All rows as files: a line per model, prompt and object, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from samft.evaluation.columns import OBJECT_SCORES, prompt_rank
from samft.evaluation.plain_json import number
from samft.evaluation.rows import ImageRow, ObjectRow

OBJECT_COLUMNS: Final = (
    "model",
    "prompt",
    "sample_id",
    "case_id",
    "object_id",
    "class_name",
    "area_px",
    "unit",
    *OBJECT_SCORES,
    "predicted_iou",
)
"""The columns of `objects.csv`; scores beyond these follow in alphabetical order."""
_INSTANCE_SCORES: Final = (
    "f1",
    "precision",
    "recall",
    "ap",
    "pq",
    "sq",
    "rq",
    "aji",
    "aji_plus",
)
IMAGE_COLUMNS: Final = (
    "model",
    "prompt",
    "sample_id",
    "case_id",
    "class_name",
    "num_objects",
    "unit",
    *OBJECT_SCORES,
    *_INSTANCE_SCORES,
)
"""The columns of `images.csv`."""
OBJECTS_FORMAT: Final = "samft-test-objects"

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_FIELDS: Final = {"area_px": "area"}
_OWN: Final = ("area_px", "num_objects", "object_id", "predicted_iou")


def in_order(
    rows: Iterable[ObjectRow] | Iterable[ImageRow], models: Sequence[str]
) -> list[Any]:  # Any: rows of the same kind
    """Return rows sorted by model, prompt, image and object, whichever process scored them."""
    place = {name: index for index, name in enumerate(models)}
    ranks: dict[str, tuple[int, str, int]] = {}

    def key(row: ObjectRow | ImageRow) -> tuple[Any, ...]:  # Any: what is compared
        if row.prompt not in ranks:
            ranks[row.prompt] = prompt_rank(row.prompt)
        item = row.object_id if isinstance(row, ObjectRow) else row.class_name
        model = place.get(row.model, len(place))
        return model, row.model, ranks[row.prompt], row.sample_id, item

    return sorted(rows, key=key)


def write_objects_csv(path: Path, rows: Sequence[ObjectRow]) -> None:
    """Write a line per model, prompt and object; an empty cell where there is no score."""
    _write_csv(path, rows, OBJECT_COLUMNS)


def write_images_csv(path: Path, rows: Sequence[ImageRow]) -> None:
    """Write a line per model, prompt, image and class; an empty cell where there is no score."""
    _write_csv(path, rows, IMAGE_COLUMNS)


def write_objects_json(path: Path, rows: Sequence[ObjectRow]) -> None:
    """Write what `objects.csv` holds as one array per column, all of the same length."""
    getters = _getters(rows, OBJECT_COLUMNS)
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"format": "{OBJECTS_FORMAT}", "version": 1, "columns": {{')
        for index, (name, get) in enumerate(getters.items()):
            values = [_json_value(get(row)) for row in rows]
            comma = ",\n" if index else "\n"
            file.write(f"{comma}{json.dumps(name)}: {json.dumps(values, separators=(',', ':'))}")
        file.write("}}\n")


def protected(text: str) -> str:
    """Return a cell of text that no spreadsheet takes for a formula.

    Source: OWASP, "CSV Injection".
    """
    return f"'{text}" if text.startswith(_FORMULA) else text


def _write_csv(
    path: Path, rows: Sequence[ObjectRow] | Sequence[ImageRow], columns: Sequence[str]
) -> None:
    getters = _getters(rows, columns)
    # Names of files need not be valid Unicode.
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)  # lines end as RFC 4180 says; only then is a lone CR quoted
        writer.writerow(protected(name) for name in getters)
        gets = list(getters.values())
        writer.writerows([_cell(get(row)) for get in gets] for row in rows)


def _getters(
    rows: Sequence[ObjectRow] | Sequence[ImageRow], columns: Sequence[str]
) -> dict[str, Callable[[Any], Any]]:  # Any: a row; a cell
    """Return how to get each column's value from a row."""
    found = {name for names in {tuple(row.scores) for row in rows} for name in names}
    names = [*columns, *sorted(found - set(columns))]
    text = columns[: columns.index("unit") + 1]
    getters: dict[str, Callable[[Any], Any]] = {}
    for name in names:
        own = name in text or name in _OWN
        getters[name] = _field(_FIELDS.get(name, name)) if own else _score(name)
    return getters


def _field(name: str) -> Callable[[Any], Any]:  # Any: a row; a cell
    def get(row: Any) -> Any:
        return getattr(row, name)

    return get


def _score(name: str) -> Callable[[Any], float]:  # Any: a row
    def get(row: Any) -> float:
        value: float = row.scores.get(name, math.nan)
        return value

    return get


def _cell(value: Any) -> str:  # Any: text or a number
    if isinstance(value, str):
        return protected(value)
    if isinstance(value, float):
        return f"{value:.7g}" if math.isfinite(value) else ""
    return str(value)


def _json_value(value: Any) -> Any:  # Any: text or a number
    return number(value) if isinstance(value, float) else value
