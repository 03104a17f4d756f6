"""Changes to XML, tables and lists that keep their form."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from benchmarks.fuzzing.mutation import mutate_tree

_FORBIDDEN = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000)))


def mutate_xml(data: bytes, seed: int) -> bytes:
    """Change a name, an attribute, a text or the place of an element of an XML document."""
    try:
        tree = _parsed(data)
    except (expat.ExpatError, ValueError, LookupError):
        return data
    return "".join(_written(mutate_tree(tree, seed))).encode("utf-8", "replace")


def _parsed(data: bytes) -> list[Any]:  # Any: a tree of plain data
    """Return `[name, attributes, [texts and elements]]` of the outermost element."""
    stack: list[list[Any]] = [["", {}, []]]

    def start(name: str, attributes: dict[str, str]) -> None:
        element = [name, attributes, []]
        stack[-1][2].append(element)
        stack.append(element)

    def end(_: str) -> None:
        stack.pop()

    def say(text: str) -> None:
        stack[-1][2].append(text)

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = say
    parser.Parse(data, True)  # noqa: FBT003  (its own signature)
    found: list[Any] = stack[0][2][0]
    return found


def _written(tree: Any) -> list[str]:  # Any: what a change made of such a tree
    if not isinstance(tree, list):
        return [escape(_text(tree))]
    if len(tree) != 3 or not isinstance(tree[1], dict) or not isinstance(tree[2], list):
        return [part for inner in tree for part in _written(inner)]
    name = _text(tree[0]).replace(" ", "") or "x"
    attributes = "".join(f" {key or 'x'}={quoteattr(_text(v))}" for key, v in tree[1].items())
    inside = [part for child in tree[2] for part in _written(child)]
    return [f"<{name}{attributes}>", *inside, f"</{name}>"]


def _text(value: object) -> str:
    return str(value).translate(_FORBIDDEN)


def mutate_csv(delimiter: str) -> Callable[[bytes, int], bytes]:
    """Return a change of a cell, or of the place of a row, of a table.

    Args:
        delimiter: Of its cells.
    """

    def mutate(data: bytes, seed: int) -> bytes:
        text = data.decode("utf-8", "replace")
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        except csv.Error:
            return data
        changed = mutate_tree(rows, seed)
        buffer = io.StringIO()
        writer = csv.writer(buffer, delimiter=delimiter)
        for row in changed if isinstance(changed, list) else [changed]:
            cells = row if isinstance(row, list) else [row]
            writer.writerow([str(cell).replace("\0", "") for cell in cells])
        return buffer.getvalue().encode("utf-8", "replace")

    return mutate


def mutate_lines(data: bytes, seed: int) -> bytes:
    """Change a line, or the place of a line, of a text."""
    changed = mutate_tree(data.decode("utf-8", "replace").split("\n"), seed)
    lines = changed if isinstance(changed, list) else [changed]
    return "\n".join(map(str, lines)).encode("utf-8", "replace")


def mutate_numbers(data: bytes, seed: int) -> bytes:
    """Change one to three numbers of four bytes at whole places, as headers hold them."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    content = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3)) if len(data) >= 4 else 0):
        at = 4 * chance.randrange(len(content) // 4)
        old = int.from_bytes(content[at : at + 4], "little")
        values = (0, 1, old + 1, old - 1, old * 2, old ^ 0x80, 0x7FFFFFFF, 0xFFFFFFFF, 8, 14)
        new = chance.choice(values) & 0xFFFFFFFF
        content[at : at + 4] = new.to_bytes(4, "little")
    return bytes(content)
