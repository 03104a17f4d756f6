"""Scores, settings and descriptions as JSON that says nothing about where things lie on a disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

_DIGITS = 7  # as many as float32 has


def plain(value: Any) -> Any:  # Any: what JSON can hold, and numpy's numbers
    """Return a value as JSON holds it: numbers of seven digits, and `None` for what is none."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return number(value)
    return value if value is None or isinstance(value, bool | int) else str(value)


def number(value: float) -> float | None:
    """Return a number rounded to seven digits; `None` for NaN and infinity."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def without_folders(value: Any) -> Any:  # Any: as for `plain`
    """Return plain data in which absolute paths are file names: results get passed on.

    `NAME=PATH` keeps its name.
    """
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, str):
        name, sign, rest = value.partition("=")
        return name + sign + _last_part(rest) if sign and name else _last_part(value)
    if isinstance(value, PurePath):
        return _last_part(str(value))
    if isinstance(value, list | tuple):
        return [without_folders(item) for item in value]
    return value


def _last_part(text: str) -> str:
    """Return the name of the file if the text is an absolute path, otherwise the text."""
    for flavour in (PurePosixPath, PureWindowsPath):
        path = flavour(text)
        if path.is_absolute() or text.startswith("~/"):
            return path.name or text
    return text
