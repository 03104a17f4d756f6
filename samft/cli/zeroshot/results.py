"""What an experiment leaves: `metrics.json`, `cases.csv`, and tables on the terminal."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

import samft
from samft.evaluation.differences import FEW_CASES, FEWEST_CASES
from samft.evaluation.plain_json import plain, without_folders
from samft.evaluation.zero_shot.outcome import Outcome
from samft.inference.output_folder import write_atomically
from samft.metrics.bootstrap import PairedDifference, paired_difference

METRICS, CASES = "metrics.json", "cases.csv"
MEAN: Final = "mean of the data sets"
_LOWER_IS_BETTER = ("noc_", "failed_")
_COUNTS = ("num_", "mean_")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run


@dataclass(kw_only=True, slots=True)
class Results:
    """All outcomes of an experiment.

    Args:
        protocol: Its name.
        settings: Of the protocol.
        device: Where it was computed.
        data: What is said of each data set, in order.
        models: What is said of each model, in order, those without weights last.
        outcomes: By data set, then by model.
    """

    protocol: str
    settings: Mapping[str, Any]  # Any: JSON
    device: str
    data: list[dict[str, Any]] = field(default_factory=list)  # Any: JSON
    models: list[dict[str, Any]] = field(default_factory=list)  # Any: JSON
    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the models that have scores, in their order."""
        return list(dict.fromkeys(name for found in self.outcomes.values() for name in found))

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean of each score over the data sets, by model; nothing of a single set.

        A score that one of the sets does not have is left out, and so are those of single classes.
        """
        sets = list(self.outcomes.values())
        if len(sets) < 2:
            return {}
        found: dict[str, dict[str, float]] = {}
        for name in self.names():
            scores = [each[name].scores for each in sets if name in each]
            if len(scores) < len(sets):
                continue
            shared = [s for s in scores[0] if "/" not in s and all(s in other for other in scores)]
            found[name] = {
                score: math.fsum(each[score] for each in scores) / len(scores)
                for score in shared
                if not score.startswith(_COUNTS)
            }
        return found

    def differences(self) -> list[dict[str, Any]]:  # Any: JSON
        """Compare each model with the first, case by case, in each data set."""
        found = []
        for data, outcomes in self.outcomes.items():
            reference, *others = outcomes
            for name in others:
                for score, values in outcomes[name].compared.items():
                    base = outcomes[reference].compared.get(score)
                    if base is None:
                        continue
                    difference = paired_difference(
                        base, values, groups=_groups(outcomes[reference], values)
                    )
                    found.append(
                        {"data": data, "score": score, "model": name, "reference": reference}
                        | asdict(difference)
                        | {"clear": _is_clear(difference)}
                    )
        return found

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return everything but the single cases as plain data; NaN as null."""
        document = {
            "format": "samft-zeroshot",
            "version": 1,
            "samft": samft.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "protocol": self.protocol,
            "environment": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "samft": samft.__version__,
                "platform": platform.platform(),
                "device": self.device,
            },
            "settings": self.settings,
            "data": self.data,
            "models": self.models,
            "scores": {
                data: {name: dict(outcome.scores) for name, outcome in outcomes.items()}
                for data, outcomes in self.outcomes.items()
            },
            "means": self.means(),
            "differences": self.differences(),
            "notes": {
                data: {name: list(each.notes) for name, each in outcomes.items() if each.notes}
                for data, outcomes in self.outcomes.items()
            },
        }
        found: dict[str, Any] = without_folders(plain(document))
        return found


def write_results(results: Results, out: Path) -> dict[str, Any]:  # Any: JSON
    """Write `metrics.json` and `cases.csv`, each whole or not at all.

    Args:
        results: What to write.
        out: Folder; made if it is not there.

    Returns:
        What `metrics.json` holds.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    document = results.to_dict()
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(out / CASES, lambda path: _write_cases(results, path))
    write_atomically(out / METRICS, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return document


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
        title = f"{description['name']}: {' + '.join(description['split'])}, "
        console.print(_table(f"{title}{description['images']} images", scores, headline))
        notes = [*description["notes"], *(n for each in outcomes.values() for n in each.notes)]
        for note in dict.fromkeys(notes):
            console.print(f"note: {note}", style="yellow", highlight=False)
    means = results.means()
    if means:
        console.print(_table(MEAN, means, headline))
    if document["differences"]:
        console.print(_difference_table(document["differences"], many=len(results.outcomes) > 1))


def _table(title: str, scores: Mapping[str, Mapping[str, float]], headline: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("score")
    for name in scores:
        table.add_column(name, justify="right")
    order = dict.fromkeys(score for each in scores.values() for score in each)
    for score in order:
        if "/" in score or not score.startswith(tuple(headline)):
            continue
        table.add_row(score, *(_shown(score, each.get(score)) for each in scores.values()))
    return table


def _difference_table(
    differences: Sequence[Mapping[str, Any]], *, many: bool
) -> Table:  # Any: JSON
    groups = min(each["num_groups"] for each in differences)
    few = f"; only {groups} cases, too few for these intervals" if groups < FEW_CASES else ""
    table = Table(
        title=f"difference from {differences[0]['reference']}",
        title_justify="left",
        caption=f"mean over cases, 95 % interval by drawing cases anew{few}",
        caption_justify="left",
    )
    for column in (*(["data"] if many else []), "model", "score"):
        table.add_column(column)
    for column in ("difference", "from", "to", "better", "worse"):
        table.add_column(column, justify="right")
    for each in differences:
        numbers = [_signed(each[key]) for key in ("mean", "low", "high")]
        table.add_row(
            *([each["data"]] if many else []),
            each["model"],
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
    if score.startswith(_COUNTS):
        return f"{value:,.0f}"
    return f"{value:.2f}" if score.startswith(_LOWER_IS_BETTER[0]) else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _is_clear(difference: PairedDifference) -> bool:
    return difference.clear and difference.num_groups >= FEWEST_CASES


def _groups(outcome: Outcome, values: Mapping[str, float]) -> dict[str, str]:
    return {name: outcome.groups.get(name, name) for name in values}


def _write_cases(results: Results, path: Path) -> None:
    """Write a row for each case of each model and data set; columns that one lacks stay empty."""
    rows = [
        {"data": data, "model": name, **row}
        for data, outcomes in results.outcomes.items()
        for name, outcome in outcomes.items()
        for row in outcome.rows
    ]
    columns = list(dict.fromkeys(column for row in rows for column in row)) or ["data", "model"]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: str | int | float) -> str | int | float:
    if isinstance(value, float):
        return "" if math.isnan(value) else float(f"{value:.7g}")
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
