"""The report as Markdown, its pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from samft.evaluation.report.blocks import Block, Chart, Gallery, Listing, Report, Table, Text
from samft.evaluation.report.page import visible

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_FENCE: Final = re.compile(r"`{3,}")
FILES: Final = "report_files"
"""Folder of the drawings, beside the report."""


def markdown_page(report: Report) -> str:
    """Return the report as Markdown; pictures are linked as `Picture.link` says."""
    lines = [f"# {plain(report.title)}", "", plain(report.about), ""]
    lines += [f"**{plain(report.headline)}.**", ""]
    for paragraph in report.verdict:
        lines += [plain(paragraph), ""]
    for warning in report.warnings:
        lines += [f"> {plain(warning)}", ""]
    for section in report.sections:
        lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Return a text in which nothing is markup, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(visible(text)).split()))


def chart_file(chart: Chart) -> str:
    """Return where the drawing of a chart belongs, relative to the report."""
    return f"{FILES}/{chart.name}.svg"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        yield f"> {plain(block.text)}" if block.tone else plain(block.text)
    elif isinstance(block, Table):
        yield from table_lines(block)
    elif isinstance(block, Chart):
        yield f"![{plain(block.alt)}]({chart_file(block)})"
    elif isinstance(block, Gallery):
        yield from _gallery(block)
    elif isinstance(block, Listing):
        yield from listing_lines(block)


def table_lines(table: Table) -> Iterator[str]:
    """Yield the lines of a table, its caption first."""
    yield f"**{plain(table.caption)}**"
    yield ""
    yield _row([plain(head) for head in table.head])
    yield _row(["---" if index < table.words else "---:" for index in range(len(table.head))])
    for row in table.rows:
        yield _row(
            [f"**{plain(cell.text)}**" if cell.tone == "best" else plain(cell.text) for cell in row]
        )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _gallery(gallery: Gallery) -> Iterator[str]:
    yield f"**{plain(gallery.title)}**"
    for picture in gallery.pictures:
        yield ""
        yield f"![{plain(picture.alt)}]({quote(picture.link, safe='/.-_')})"
        yield ""
        yield plain(picture.caption)


def listing_lines(listing: Listing) -> Iterator[str]:
    """Yield the lines of a listing, fenced so that nothing in it can end it."""
    text = str(visible(listing.text))
    longest = max((len(fence) for fence in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    yield f"**{plain(listing.caption)}**"
    yield ""
    yield f"{fence}{listing.language}"
    yield text.rstrip("\n")
    yield fence
