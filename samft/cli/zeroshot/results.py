"""What an experiment leaves: `metrics.json` and `cases.csv`."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

import torch

import samft
from samft.errors import OutputError
from samft.evaluation.differences import FEWEST_CASES
from samft.evaluation.plain_json import plain, without_folders
from samft.evaluation.zero_shot.outcome import Outcome
from samft.inference.output_folder import write_atomically
from samft.metrics.bootstrap import PairedDifference, paired_difference

METRICS, CASES = "metrics.json", "cases.csv"
MEAN: Final = "mean of the data sets"
COUNTS: Final = ("num_", "mean_")
"""How the names of scores begin that are numbers of something."""
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
                if not score.startswith(COUNTS)
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


def make_folder(out: Path) -> None:
    """Make a folder for results and try it, before anything long is started.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OutputError(
            "the output folder cannot be written",
            where=out,
            found=error.strerror or error,
            fix="choose another --out",
        ) from error


def write_results(results: Results, out: Path) -> dict[str, Any]:  # Any: JSON
    """Write `metrics.json` and `cases.csv`, each whole or not at all.

    Args:
        results: What to write.
        out: Folder, see `make_folder`.

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
