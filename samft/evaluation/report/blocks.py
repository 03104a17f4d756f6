"""What a report is made of, before it becomes HTML or Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


class Cell(NamedTuple):
    """One cell of a table.

    Args:
        text: What it says.
        tone: `best` of its row, `good` or `bad`, or nothing.
    """

    text: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A paragraph; `tone` is `warning` or nothing."""

    kind: ClassVar[str] = "text"
    text: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table, its words on the left, its numbers on the right.

    Args:
        caption: What it shows.
        head: Names of the columns.
        rows: As many cells each.
        words: How many columns hold words; the first names the row.
        folded: Shown only when asked for.
        long: Not printed.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: int = 1
    folded: bool = False
    long: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A drawing; its numbers stand in a table beside it.

    Args:
        name: Of its file.
        light: SVG for light pages.
        dark: SVG for dark pages.
        alt: What it shows, in words.
    """

    kind: ClassVar[str] = "chart"
    name: str
    light: bytes
    dark: bytes
    alt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture of the gallery.

    Args:
        data: The file.
        media_type: Such as `image/jpeg`.
        link: Where it lies, relative to the report; empty if it does not lie beside it.
        alt: What it shows, in words.
        caption: What stands below it.
    """

    data: bytes
    media_type: str
    link: str
    alt: str
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Pictures of one kind."""

    kind: ClassVar[str] = "gallery"
    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Text to be shown letter by letter: commands, a configuration."""

    kind: ClassVar[str] = "listing"
    caption: str
    text: str
    language: str = ""
    folded: bool = False


Block = Text | Table | Chart | Gallery | Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the report under a heading of its own.

    Args:
        key: For links.
        title: The heading.
        blocks: What it holds; a section without any is left out.
    """

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A whole report.

    Args:
        title: Its heading.
        about: One line below it: which data, when, with what.
        headline: The verdict in a few words.
        verdict: The verdict, a paragraph for each question it answers.
        warnings: What to keep in mind.
        sections: The rest, in order.
    """

    title: str
    about: str
    headline: str
    verdict: tuple[str, ...]
    warnings: Sequence[str]
    sections: Sequence[Section]


def words(*texts: str) -> list[Cell]:
    """Return cells of plain words."""
    return [Cell(text) for text in texts]


def best_of(values: Sequence[float], *, higher_is_better: bool, digits: int) -> set[int]:
    """Return which of several numbers are the best as they are shown; none of fewer than two."""
    shown = {
        index: round(value, digits) for index, value in enumerate(values) if math.isfinite(value)
    }
    if len(shown) < 2:
        return set()
    best = max(shown.values()) if higher_is_better else min(shown.values())
    return {index for index, value in shown.items() if value == best}
