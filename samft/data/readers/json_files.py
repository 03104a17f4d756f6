"""JSON label files: read whole, line by line or at both ends, in bounded memory, types checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from samft.data.readers.limits import check_file_size, reading, unreadable
from samft.errors import DatasetError

_LOOK = 64 * 2**10  # bytes at either end of a file
_LONGEST_LINE = 16 * 2**20  # characters
_DEEPEST = 64
_KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "an object",
    type(None): "nothing",
}


def read_json(
    path: Path, expected: str, *, hook: Callable[[dict[str, Any]], object] | None = None
) -> Any:  # Any: JSON, checked by each reader
    """Parse a file.

    Args:
        path: The file.
        expected: What it should be, such as `a COCO file`, for messages.
        hook: Takes the place of every object as soon as it is read, the innermost first: what it
            does not keep never fills the memory.

    Raises:
        DatasetError: if it is no JSON, or larger than SAMFT_MAX_BYTES.
    """
    with reading(path, expected):
        check_file_size(path)
        return json.loads(path.read_bytes().decode("utf-8-sig"), object_hook=hook)


def read_json_object(path: Path, expected: str) -> dict[str, Any]:  # Any: JSON
    """Parse a file that holds one object.

    Args:
        path: The file.
        expected: What it should be, for messages.

    Raises:
        DatasetError: as `read_json`, and if it holds something else.
    """
    content = read_json(path, expected)
    if not isinstance(content, dict):
        raise unreadable(path, kind_of(content), expected)
    return content


def read_json_lines(path: Path, expected: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Parse a file with one object per line; empty lines do not count.

    Args:
        path: The file.
        expected: What it should be, for messages.

    Yields:
        The number of the line, from 1, and its object.

    Raises:
        DatasetError: if a line is no JSON object, or too long.
    """
    with reading(path, expected), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(limited_lines(path, file, expected), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise unreadable(path, f"line {number}: {error}", expected) from error
            if not isinstance(row, dict):
                raise unreadable(path, f"line {number}: {kind_of(row)}", expected)
            yield number, row


def limited_lines(path: Path, file: Iterable[str], expected: str) -> Iterator[str]:
    """Return the lines of an open text file, none of them longer than 16 million characters.

    Args:
        path: The file, for messages.
        file: The file, open.
        expected: What it should be, for messages.

    Raises:
        DatasetError: if a line is longer.
    """
    readline = getattr(file, "readline", None)
    if readline is None:
        yield from file
        return
    number = 0
    while line := readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            raise unreadable(path, f"line {number} of more than {_LONGEST_LINE} letters", expected)
        yield line


def is_deep(value: object) -> bool:
    """Tell whether lists and objects lie in each other deeper than a program should walk.

    The parser itself goes about a thousand deep; what calls itself for each level cannot.

    Args:
        value: JSON.
    """
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def kind_of(value: object) -> str:
    """Say in words what a JSON value is, for messages."""
    return _KINDS.get(type(value), type(value).__name__)


def text_of(value: object, where: object, what: str) -> str:
    """Return a value that must be a text.

    Args:
        value: The value.
        where: Where it stands, for messages.
        what: What it is, such as `a file name`.

    Raises:
        DatasetError: if it is none.
    """
    if isinstance(value, str):
        return value
    raise DatasetError(f"{what} is no text", where=where, found=kind_of(value), expected="a text")


def as_list(value: object, name: str, path: Path, expected: str) -> list[Any]:
    """Return a value that must be a list.

    Raises:
        DatasetError: if it is none.
    """
    if isinstance(value, list):
        return value
    raise unreadable(path, f"{kind_of(value)} under {name!r}", f"{expected}, with a list there")


def both_ends(path: Path) -> tuple[bytes, bytes]:
    """Return the first and the last 64 KiB of a file; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOK)
            file.seek(max(0, path.stat().st_size - _LOOK))
            return head, file.read(_LOOK)
    except OSError:
        return b"", b""
