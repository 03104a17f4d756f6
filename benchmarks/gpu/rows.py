"""The file of results: a line of JSON for the setup, then one for each row, as soon as it is known.

A run that is killed loses nothing but the row it was at; the next one goes on after the last line.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.results import Result, Results


class RowFile:
    """Rows by name, on disk or, without a path, in memory alone.

    Args:
        path: The file; made with the first row.
        facts: Setup, machine and versions; `None` takes those of the file.

    Raises:
        SystemExit: if the file holds something else, or rows of another setup.
    """

    def __init__(self, path: Path | None, facts: dict[str, Any] | None = None) -> None:
        self.path = path
        self.rows: Results = {}
        self.facts: dict[str, Any] = facts or {}
        if path is None or not path.exists():
            if facts is None:
                raise SystemExit(f"{path}: no such file")
            return
        first, *lines = _lines(path)
        found = first.get("setup")
        if found is None:
            raise SystemExit(f"{path}: no results of this benchmark")
        if facts is not None and found != facts:
            raise SystemExit(f"{path} holds results of another setup: {_difference(found, facts)}")
        self.facts = found
        for line in lines:
            self._take(line["name"], line)

    def add(self, name: str, result: Result) -> None:
        """Take a row, or more about one, and write it down at once."""
        dated = {"name": name, "date": datetime.now(UTC).isoformat(timespec="seconds"), **result}
        if self.path is not None:
            start = [] if self.path.exists() else [{"setup": self.facts}]
            _append(self.path, [*start, dated])
        self._take(name, dated)

    def _take(self, name: str, line: Result) -> None:
        if "estimated_mb" in line:  # beside what was measured
            self.rows[name] = self.rows.get(name, {}) | {"estimated_mb": line["estimated_mb"]}
        else:
            kept = self.rows.get(name, {})
            own = {"estimated_mb": kept["estimated_mb"]} if "estimated_mb" in kept else {}
            self.rows[name] = {key: line[key] for key in line if key != "name"} | own


def is_measured(row: Result | None) -> bool:
    """Whether a row has a result, be it a failure."""
    return row is not None and bool({"steps_per_s", "out_of_memory", "failed"} & row.keys())


def _lines(path: Path) -> list[dict[str, Any]]:
    found = []
    for text in path.read_text(encoding="utf-8").split("\n"):
        try:
            line = json.loads(text) if text.strip() else None
        except ValueError:  # the line at which a run was killed
            continue
        if isinstance(line, dict):
            found.append(line)
    if not found:
        raise SystemExit(f"{path}: no results of this benchmark")
    return found


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # half a line, of a run that was killed
                file.write(b"\n")
        for line in lines:
            file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _difference(found: dict[str, Any], facts: dict[str, Any]) -> str:
    names = [name for name in (found | facts) if found.get(name) != facts.get(name)]
    return ", ".join(f"{name} {found.get(name)}, now {facts.get(name)}" for name in names)
