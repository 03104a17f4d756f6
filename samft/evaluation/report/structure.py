"""JSON of unknown origin, checked against what it should look like, gaps filled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from samft.data.readers.json_files import kind_of
from samft.errors import DatasetError

Numbers = dict[str, float]
Spec = Any
"""`NUMBER`, `NUMBERS`, `TEXT`, `FLAG`, `ANYTHING`, `[spec]` for a list, `{"*": spec}` for an object
with any names, `{"name": spec}` for one with these names; others may be there too."""

NUMBER: Final = "a number"
NUMBERS: Final = "numbers by name"
TEXT: Final = "a text"
FLAG: Final = "true or false"
ANYTHING: Final = "anything"
_EMPTY: Final[Mapping[str, Any]] = {NUMBER: math.nan, TEXT: "", FLAG: False, ANYTHING: None}


def conform(value: object, spec: Spec, *, where: str, file: Path) -> Any:  # Any: as `spec` says
    """Return a JSON value in the shape of `spec`.

    Args:
        value: As read; nothing (`null`, or a name that is not there) stands for NaN, an empty text,
            an empty list or an empty object.
        spec: See `Spec`.
        where: The key, for messages.
        file: The file, for messages.

    Raises:
        DatasetError: if a value is of another kind.
    """
    if isinstance(spec, dict) or spec == NUMBERS:
        found = _of_kind(value, dict, "an object", where=where, file=file)
        return _conform_object(found, spec, where=where, file=file)
    if isinstance(spec, list):
        items = _of_kind(value, list, "a list", where=where, file=file)
        return [
            conform(item, spec[0], where=f"{where}[{number}]", file=file)
            for number, item in enumerate(items)
        ]
    if value is None:
        return _EMPTY[spec]
    if spec == NUMBER:
        if not _is_number(value):
            raise _wrong(value, NUMBER, where, file)
        return _as_float(value)
    if spec == TEXT:
        return _of_kind(value, str, TEXT, where=where, file=file)
    return _of_kind(value, bool, FLAG, where=where, file=file) if spec == FLAG else value


def _conform_object(found: dict[str, Any], spec: Spec, *, where: str, file: Path) -> dict[str, Any]:
    if spec == NUMBERS:
        return {
            name: _as_float(value)
            for name, value in found.items()
            if value is None or _is_number(value)
        }
    prefix = f"{where}." if where else ""
    if "*" in spec:
        return {
            name: conform(value, spec["*"], where=f"{prefix}{name}", file=file)
            for name, value in found.items()
        }
    known = {
        name: conform(found.get(name), inner, where=f"{prefix}{name}", file=file)
        for name, inner in spec.items()
    }
    return {**found, **known}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_float(value: Any) -> float:  # Any: a number or nothing
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.nan


def _of_kind(
    value: object, kind: type, expected: str, *, where: str, file: Path
) -> Any:  # Any: of `kind`
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise _wrong(value, expected, where, file)
    return value


def _wrong(value: object, expected: str, where: str, file: Path) -> DatasetError:
    return DatasetError(
        "the results of a test are not as samft writes them",
        where=f"{file}, {where}" if where else file,
        found=kind_of(value),
        expected=expected,
        fix="run samft test again, or name another folder with --results DIR",
    )
