"""A diagnosis in the terminal: a table of what needs care, then what is in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from samft.diagnosis.checkup import Diagnosis
from samft.diagnosis.rows import WORST_FIRST, Row, Status

_STYLES: Final[dict[Status, str]] = {"error": "bold red", "warn": "yellow", "ok": "green"}


def show(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Print the table, the worst first, and one line that sums it up.

    Args:
        diagnosis: What was found.
        console: Where; default the terminal.
    """
    place = console or Console()
    table = Table(show_edge=False, pad_edge=False)
    for column in ("", "what", "found", "do"):
        table.add_column(column, no_wrap=column == "", overflow="fold")
    for status in WORST_FIRST:
        rows = [row for row in diagnosis.rows if row.status == status]
        for row in rows if status != "ok" else _joined(rows):
            wanted = f" (expected: {row.expected})" if row.expected and status != "ok" else ""
            table.add_row(
                Text(status, style=_STYLES[status]),
                Text(row.name),  # as Text, so that brackets in it are no markup
                Text(row.found + wanted),
                Text(row.advice),
            )
    place.print(table)
    place.print(Text(summary(diagnosis), style=_STYLES[diagnosis.status]))


def summary(diagnosis: Diagnosis) -> str:
    """Return the last line: how many problems there are, and whether samft works here."""
    errors, warnings = diagnosis.count("error"), diagnosis.count("warn")
    if errors:
        return f"{_many(errors, 'error')} and {_many(warnings, 'warning')}: mend the errors first"
    if warnings:
        return f"samft works here, with {_many(warnings, 'warning')}"
    return "samft works here, nothing to mend"


def _joined(rows: Sequence[Row]) -> list[Row]:
    """Put the packages that are in range on one line."""
    packages = [row for row in rows if row.group == "packages" and row.expected]
    others = [row for row in rows if row not in packages]
    if not packages:
        return others
    versions = ", ".join(f"{row.name} {row.found}" for row in packages)
    line = Row(group="packages", name="packages in range", status="ok", found=versions)
    return [line, *others]


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
