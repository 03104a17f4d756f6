"""XML label files, read as a stream: nothing is expanded, fetched or kept that is not asked for.

Every reader of XML goes through here. A file with a document type is refused: entities are declared
there, those that expand without end and those that name other files alike, and no annotation tool
writes one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from xml.parsers import expat

from samft.data.readers.limits import check_declared_size, reading, unreadable
from samft.errors import DatasetError

StartElement = Callable[[str, Mapping[str, str]], None]
"""Gets the name of an element and its attributes."""
EndElement = Callable[[str, str], None]
"""Gets the name of an element and the text directly in it, without spaces around it."""

_CHUNK = 2**16
# Far beyond what tools write: a polygon of a million vertices has 20 MB.
_LONGEST_TOKEN = 64 * 2**20
_DEEPEST = 64
_LAST = True  # for the parser: nothing comes after this


def read_xml(path: Path, start: StartElement, end: EndElement, *, expected: str) -> None:
    """Read a file from its beginning to its end, one element after the other.

    Args:
        path: The file, in UTF-8, UTF-16 or what its declaration says, with or without a byte order
            mark.
        start: Called where an element begins.
        end: Called where it ends.
        expected: What the file should be, such as `Aperio's XML`, for messages.

    Raises:
        DatasetError: if it is missing, damaged or too large, or has a document type; and whatever
            `start` and `end` raise.
    """
    with reading(path, expected, also=(expat.ExpatError,)):
        check_declared_size(path, (max(1, path.stat().st_size),), 1)
        stream = _Stream(path, start, end, expected)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                stream.feed(chunk)
        stream.close()


def tags_in(head: bytes) -> list[str]:
    """Return the names of the elements in the beginning of a file; none if it is not XML.

    Args:
        head: The first bytes of the file, cut anywhere.
    """
    found: list[str] = []
    stream = _Stream(Path(), lambda name, _: found.append(name), lambda *_: None, "XML")
    try:
        stream.feed(head)
    except (expat.ExpatError, DatasetError, ValueError, LookupError):
        return []
    return found


def number(attributes: Mapping[str, str], name: str, path: Path) -> float:
    """Return an attribute that must be a finite number.

    Some tools write it as the computer's language has it, with a comma.

    Raises:
        DatasetError: if it is absent, no number, or not finite.
    """
    text = attributes.get(name, "").strip()
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(
            f"the attribute {name!r} is not a number",
            where=path,
            found=repr(text[:40]) if text else "nothing",
            expected="a number such as 12.5",
            fix="draw the shape again, or take the file out of the data set",
        )
    return value


class _Stream:
    """The parser with its limits: depth, length of a tag, no document type."""

    def __init__(self, path: Path, start: StartElement, end: EndElement, expected: str) -> None:
        self._path = path
        self._start = start
        self._end = end
        self._expected = expected
        self._texts: list[list[str]] = []
        self._fed = 0
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._starts
        parser.EndElementHandler = self._ends
        parser.CharacterDataHandler = self._says
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self._parser = parser

    def feed(self, chunk: bytes) -> None:
        self._fed += len(chunk)
        self._parser.Parse(chunk)
        if self._fed - self._parser.CurrentByteIndex > _LONGEST_TOKEN:
            raise unreadable(
                self._path, f"one tag of more than {_LONGEST_TOKEN >> 20} MB", self._expected
            )

    def close(self) -> None:
        self._parser.Parse(b"", _LAST)

    def _starts(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._texts) == _DEEPEST:
            raise unreadable(self._path, f"elements in each other, {_DEEPEST} deep", self._expected)
        self._texts.append([])
        self._start(name, attributes)

    def _ends(self, name: str) -> None:
        self._end(name, "".join(self._texts.pop()).strip())

    def _says(self, text: str) -> None:
        # Line breaks between elements are most of the text in a file, and nobody's.
        if self._texts and not text.isspace():
            self._texts[-1].append(text)

    def _refuse(self, *_: object) -> int:
        raise DatasetError(
            "the XML file has a document type or entities, which are refused",
            where=self._path,
            expected=f"{self._expected}, without <!DOCTYPE> and <!ENTITY>",
            fix="take the declaration out of the file if you trust it",
        )
