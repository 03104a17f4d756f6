"""Changes to inputs that keep their form, so that more than the parser is reached."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, Final

import yaml

from samft.models.torch_file import ZIP_ERRORS

_NUMBERS: Final = (
    *(0, 1, -1, 2, 255, 256, 65_535, -(2**31), 2**31, 2**32, 2**53 + 1, 2**63, 2**64, 10**30),
    *(0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
)
_TEXTS: Final = (
    *("", " ", "..", "../../../../etc/passwd", "/etc/passwd", "C:\\x", "a/../b", "\x00", "\n"),
    *("\ud800", "🦠", "é", "1e999", "-1", "nan", "0x10", "true", "file:///etc/passwd", "x" * 300),
    *("http://127.0.0.1/", "!!python/object:os.system", "%s%n", "{0}", "|u8", "eJw=", "PPYo1"),
)
_OTHERS: Final = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [[0, 0], [1, 1]],
    {"counts": [0, 4], "size": [2, 2]},
)


def mutate_json(data: bytes, seed: int) -> bytes:
    """Change a value, a key or the place of a part of a JSON document.

    Args:
        data: A document; what is none is returned as it is.
        seed: Decides what is changed.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    return json.dumps(mutate_tree(document, seed)).encode("utf-8", "surrogatepass")


def mutate_json_lines(data: bytes, seed: int) -> bytes:
    """Change one line of a file with one JSON document per line."""
    lines = data.split(b"\n")
    place = random.Random(seed).randrange(len(lines))  # noqa: S311  (no secret)
    lines[place] = mutate_json(lines[place], seed)
    return b"\n".join(lines)


def mutate_yaml(data: bytes, seed: int) -> bytes:
    """Change a value, a key or the place of a part of a YAML document."""
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError):
        return data
    try:
        return yaml.safe_dump(mutate_tree(document, seed)).encode("utf-8", "replace")
    except (yaml.YAMLError, RecursionError):
        return data


def mutate_tree(document: Any, seed: int) -> Any:  # Any: what JSON and YAML hold
    """Return plain data with one to three changes."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    holder = [document]
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(holder))
        if not places:  # the whole document was taken out
            return None
        container, key = chance.choice(places)
        _change(container, key, chance.choice(places), chance)
    return holder[0] if holder else None


def _places(container: Any) -> Iterator[tuple[Any, Any]]:
    pending = [container]
    while pending:
        current = pending.pop()
        keys = list(current) if isinstance(current, dict) else range(len(current))
        for key in keys:
            yield current, key
            if isinstance(current[key], dict | list):
                pending.append(current[key])


def _change(container: Any, key: Any, other: tuple[Any, Any], chance: random.Random) -> None:
    kind = chance.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.insert(chance.randrange(len(container) + 1), _copied(container[key]))
    elif kind == 2 and isinstance(container, dict):
        container[chance.choice(_TEXTS)] = container.pop(key)
    elif kind == 3:
        container[key] = _copied(other[0][other[1]])
    else:
        container[key] = chance.choice((*_NUMBERS, *_TEXTS, *map(_copied, _OTHERS)))


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value)) if isinstance(value, dict | list) else value


def mutate_member(name: str, inner: Callable[[bytes, int], bytes]) -> Callable[[bytes, int], bytes]:
    """Return a change of one member of a zip archive; the others stay as they are.

    Args:
        name: How the member's name ends.
        inner: Changes its bytes.
    """

    def mutate(data: bytes, seed: int) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as source:
                members = {entry.filename: source.read(entry) for entry in source.infolist()}
        except ZIP_ERRORS:
            return data
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as result:
            for member, content in members.items():
                changed = inner(content, seed) if member.endswith(name) else content
                result.writestr(member, changed)
        return buffer.getvalue()

    return mutate
