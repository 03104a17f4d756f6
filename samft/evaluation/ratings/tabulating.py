"""The results of a rating study as Markdown and JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path

from samft.evaluation.ratings.analysis import RatingAnalysis
from samft.evaluation.ratings.scale import ANCHORS, anchor_of
from samft.inference.output_folder import write_atomically

Table = tuple[list[str], list[list[str]]]
"""Header and rows."""

_BAR = 20  # characters of the longest bar


def model_table(found: RatingAnalysis) -> Table:
    """Return the means of the models."""
    header = ["model", "objects", "ratings", "mean", f"{found.level:.0%} interval", "means"]
    rows = [
        [
            each.model,
            str(each.num_objects),
            str(each.num_ratings),
            number(each.mean),
            interval(each.low, each.high),
            "" if math.isnan(each.mean) else anchor_of(each.mean).text,
        ]
        for each in found.models
    ]
    return header, rows


def difference_table(found: RatingAnalysis) -> Table:
    """Return the paired differences."""
    header = ["model", "minus", "objects", "mean", f"{found.level:.0%} interval", "t", "p", "clear"]
    rows = [
        [
            each.model,
            each.reference,
            str(each.num_objects),
            number(each.mean, signed=True),
            interval(each.low, each.high),
            number(each.t),
            "" if math.isnan(each.p) else f"{each.p:.2g}",
            "yes" if each.clear else "no",
        ]
        for each in found.differences
    ]
    return header, rows


def rater_table(found: RatingAnalysis) -> Table:
    """Return what each rater did."""
    header = ["rater", "ratings", "left blank", "comments", "mean"]
    rows = [
        [
            each.rater,
            str(each.num_ratings),
            str(each.num_blank),
            str(each.num_comments),
            number(each.mean),
        ]
        for each in found.raters
    ]
    return header, rows


def agreement(found: RatingAnalysis) -> str:
    """Return how well the raters agree, as a sentence."""
    if not found.num_shared:
        return "No job was rated by more than one person: agreement is not known."
    return (
        f"Agreement: {found.num_shared} jobs were rated by several people; their ratings of a job "
        f"deviate by {found.mean_deviation:.2f} on average (standard deviation; 0.83 in the pilot "
        "of SAM's paper)."
    )


def markdown(found: RatingAnalysis) -> str:
    """Return everything as Markdown."""
    parts = ["# Ratings", f"{found.num_rated} of {found.num_jobs} jobs rated."]
    parts += [_markdown_table(model_table(found))]
    if found.differences:
        parts += ["## On the same objects", _markdown_table(difference_table(found))]
        parts.append(
            f"Intervals: {found.samples} bootstrap samples of {found.by}s. t and p: paired t-test "
            "over objects."
        )
    parts += ["## Raters", _markdown_table(rater_table(found)), agreement(found)]
    parts += ["## Histogram", _histogram(found)]
    scale = [f"- {anchor.ratings}: {anchor.text}" for anchor in ANCHORS]
    parts += ["## Scale", "\n".join(scale)]
    parts += [f"Note: {note}." for note in found.notes]
    return "\n\n".join(parts) + "\n"


def write_analysis(found: RatingAnalysis, folder: Path) -> tuple[Path, Path]:
    """Write `analysis.json` and `analysis.md`.

    Args:
        found: The results.
        folder: Made if it is not there.

    Returns:
        The two files.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n"
    first, second = folder / "analysis.json", folder / "analysis.md"
    for place, text in ((first, plain), (second, markdown(found))):
        _write(place, text)
    return first, second


def number(value: float, *, signed: bool = False) -> str:
    """Return a mean with two decimals; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:+.2f}" if signed else f"{value:.2f}"


def interval(low: float, high: float) -> str:
    """Return an interval; nothing for NaN."""
    return "" if math.isnan(low) else f"{low:.2f} to {high:.2f}"


def _write(place: Path, text: str) -> None:
    write_atomically(place, lambda path: path.write_text(text, "utf-8"))


def _histogram(found: RatingAnalysis) -> str:
    most = max((count for each in found.models for count in each.histogram), default=0)
    lines = []
    for each in found.models:
        lines.append(each.model)
        for rating, count in enumerate(each.histogram, start=1):
            bar = "#" * round(_BAR * count / most) if most else ""
            lines.append(f"  {rating:2d} {bar} {count}".rstrip())
    return "```\n" + "\n".join(lines) + "\n```"


def _markdown_table(table: Table) -> str:
    header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text that cannot end its cell or begin anything."""
    plain = " ".join(text.split())
    return "".join(f"\\{mark}" if mark in "|`*_[]<>\\" else mark for mark in plain)
