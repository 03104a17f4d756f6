"""How `samft check` shows what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from samft.data.checking.codes import SEVERITIES, Severity
from samft.data.checking.facts import SIZE_EDGES
from samft.data.checking.findings import Finding
from samft.data.checking.runner import Report
from samft.data.checking.settings import CheckSettings

SCHEMA: Final = 1
"""Version of the JSON form: fields may be added within it, none changes its meaning."""
_SHOWN = 5  # findings of a kind
_BAR = 40
_STYLES: Final[Mapping[Severity, str]] = {
    "error": "bold red",
    "warning": "yellow",
    "note": "cyan",
}


def report_json(report: Report, settings: CheckSettings) -> dict[str, Any]:  # Any: JSON
    """Return a report as plain data, documented in `docs/check.md`.

    Args:
        report: What was found.
        settings: What the sizes of objects refer to.
    """
    return {
        "schema": SCHEMA,
        "root": str(report.root),
        "layout": report.layout or None,
        "reason": report.reason or None,
        "image_size": settings.image_size,
        "tiny_px": settings.tiny,
        "counts": report.log.by_severity(),
        "codes": dict(report.log.counts),
        "findings": [finding.to_dict() for finding in report.findings],
        "summary": report.summary.to_dict(),
    }


def print_report(
    report: Report, settings: CheckSettings, console: Console, *, every: bool = False
) -> None:
    """Print the table of findings, and what the set consists of.

    Args:
        report: What was found.
        settings: What the sizes of objects refer to.
        console: Where to print.
        every: Show all findings rather than the first of each kind.
    """
    plain: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False}  # Any: rich
    layout = f", read as {report.layout}: {report.reason}" if report.layout else ""
    console.print(f"{report.root}{layout}", **plain)
    if report.findings:
        console.print(_table(report, every=every))
    for line in _summary(report):
        console.print(line, **plain)
    if report.summary.objects:
        for line in histogram(report.summary.sizes, settings.image_size):
            console.print(line, **plain)
    totals = report.log.by_severity()
    console.print(", ".join(_counted(totals[name], name) for name in SEVERITIES), **plain)


def histogram(sizes: list[int], image_size: int) -> Iterator[str]:
    """Yield the lines of a bar chart of object sizes.

    Args:
        sizes: Objects of each class of sizes, see `SIZE_EDGES`.
        image_size: The size of training.
    """
    yield f"object sizes, square root of the area in pixels, images resized to {image_size}"
    filled = [row for row, count in enumerate(sizes) if count]
    most = max(sizes)
    for row in range(filled[0], filled[-1] + 1):
        low = SIZE_EDGES[row]
        high = f"to {SIZE_EDGES[row + 1]}" if row + 1 < len(SIZE_EDGES) else "and more"
        bar = "#" * max(int(sizes[row] > 0), round(_BAR * sizes[row] / most))
        yield f"  {low:>4} {high:<8} {sizes[row]:>8}  {bar}"


def _table(report: Report, *, every: bool) -> Table:
    table = Table(expand=False, padding=(0, 1))
    for column in ("severity", "file", "found", "expected", "fix"):
        table.add_column(column, overflow="fold", no_wrap=column == "severity")
    for code, group in groupby(report.findings, key=lambda finding: finding.code):
        members = list(group)
        shown = members if every else members[:_SHOWN]
        last = ("", "")
        for finding in shown:
            table.add_row(*_row(finding, last))
            last = finding.expected, finding.fix
        rest = report.log.counts[code] - len(shown)
        if rest:
            more = f"and {rest} more" + ("" if every else " (--all shows them)")
            table.add_row("", more, "", "", "")
        table.add_section()
    return table


def _row(finding: Finding, last: tuple[str, str]) -> tuple[str, ...]:
    """Return the cells of a finding; what the row above it says too is left out."""
    file = finding.file
    if finding.files > 1 and file != ".":
        file += f" and {finding.files - 1} more"
    if file == ".":
        file = "the whole set"
    expected = "" if finding.expected == last[0] else finding.expected
    fix = "" if finding.fix == last[1] else finding.fix
    cells = (file, finding.found, expected, fix)
    return (f"{_styled(finding.severity)}\n{finding.code}", *map(escape, cells))


def _styled(severity: Severity) -> str:
    return f"[{_STYLES[severity]}]{severity}[/]"


def _summary(report: Report) -> Iterator[str]:
    total = report.summary
    line = f"{_counted(total.images, 'image')}, {_counted(total.objects, 'object')}"
    if total.empty:
        line += f", {total.empty} without any object"
    if total.dropped:
        line += f", {total.dropped} specks dropped (data.min_area)"
    if report.remembered:
        line += f"; {report.remembered} unchanged since an earlier check"
    yield line
    if set(total.splits) - {"not split"}:
        yield "splits: " + _listed(total.splits)
    if total.shapes:
        yield "sizes: " + _listed(dict(total.shapes.most_common()))
        depths = _listed({f"{name}": count for name, count in total.depths.items()})
        channels = _listed({f"{n} channel{'s' * (n > 1)}": c for n, c in total.channels.items()})
        yield f"values: {depths}; {channels}"
    if len(total.classes) > 1:
        yield "classes: " + _listed(
            {f"{name}": objects for name, (objects, _) in total.classes.items()}
        )
    if total.ignored:
        yield f"nothing is known of {total.ignored / max(1, total.readable):.1%} of the pixels"


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({count})" for name, count in counts.items()]
    more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
    return ", ".join(shown[:12]) + more


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
