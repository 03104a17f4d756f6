"""The results of an experiment as tables on the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from samft.cli.zeroshot.results import COUNTS, MEAN, Results
from samft.cli.zeroshot.words import counted
from samft.evaluation.differences import FEW_CASES

_MOST_CLASSES: Final = 20  # whose scores are shown; all are in metrics.json


def print_results(
    results: Results, document: Mapping[str, Any], headline: Sequence[str], console: Console
) -> None:  # Any: JSON
    """Print a table for each data set, the differences, the means, and what must be known.

    Args:
        results: What was found.
        document: From `write_results`.
        headline: How the names of the scores begin that are shown.
        console: Where to.
    """
    for description in results.data:
        outcomes = results.outcomes[description["name"]]
        scores = {name: outcome.scores for name, outcome in outcomes.items()}
        splits = " + ".join(description["split"])
        images = counted(description["images"], "image")
        _print(console, f"{description['name']}: {splits}, {images}", style="italic")
        console.print(_score_table(scores, headline))
        notes = [*description["notes"], *(n for each in outcomes.values() for n in each.notes)]
        for note in dict.fromkeys(notes):
            _print(console, f"note: {note}", style="yellow")
    means = results.means()
    if means:
        _print(console, MEAN, style="italic")
        console.print(_score_table(means, headline))
    differences = document["differences"]
    if differences:
        _print(console, f"difference from {differences[0]['reference']}", style="italic")
        console.print(_difference_table(differences, many=len(results.outcomes) > 1))
        groups = min(each["num_groups"] for each in differences)
        few = f"; only {counted(groups, 'case')}, too few for these intervals"
        drawn = "mean over cases, 95 % interval by drawing cases anew"
        _print(console, f"{drawn}{few if groups < FEW_CASES else ''}", style="italic")


def _print(console: Console, line: str, *, style: str) -> None:
    """Print a line in which names stand that may look like markup."""
    console.print(Text(line, style=style), soft_wrap=True)


def _score_table(scores: Mapping[str, Mapping[str, float]], headline: Sequence[str]) -> Table:
    table = Table("score")
    for name in scores:
        table.add_column(Text(name), justify="right")
    order = dict.fromkeys(score for each in scores.values() for score in each)
    classes = Counter(score.partition("/")[0] for score in order if "/" in score)
    for score in order:
        base, of_class, _ = score.partition("/")
        few = 1 < classes[base] <= _MOST_CLASSES
        if score.startswith(tuple(headline)) and (few or not of_class):
            values = (_shown(score, each.get(score)) for each in scores.values())
            table.add_row(Text(score), *values)
    return table


def _difference_table(
    differences: Sequence[Mapping[str, Any]], *, many: bool
) -> Table:  # Any: JSON
    table = Table(*(["data"] if many else []), "model", "score")
    for column in ("difference", "from", "to", "better", "worse"):
        table.add_column(column, justify="right")
    for each in differences:
        numbers = [_signed(each[key]) for key in ("mean", "low", "high")]
        table.add_row(
            *([Text(each["data"])] if many else []),
            Text(each["model"]),
            each["score"],
            *numbers,
            str(each["better"]),
            str(each["worse"]),
            style="bold" if each["clear"] else None,
        )
    return table


def _shown(score: str, value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    if score.startswith(COUNTS):
        return f"{value:,.0f}"
    return f"{value:.2f}" if score.startswith("noc_") else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"
