"""Measurements in processes of their own, kept in a file to go on with, and shown as a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

Result = dict[str, Any]  # Any: numbers and what they are about
Results = dict[str, Result]


def run_worker(
    module: str, arguments: Sequence[str], *, threads: int, **environment: str
) -> Result:
    """Run `python -m module` and return the JSON object on the last line that it prints.

    Args:
        module: Its name.
        arguments: Its command line.
        threads: How many it may use.
        environment: Variables for it.

    Returns:
        The object; `{"failed": what it said last}` if it ended with an error.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment | {"OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        text = " ".join(line.strip() for line in said[-3:])  # as many as an error of samft has
        return {"failed": text[:400] or f"exit status {done.returncode}"}
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found


def read_results(path: Path | None, setup: Mapping[str, Any]) -> Results:
    """Return what a file holds, nothing if there is none.

    Raises:
        SystemExit: if it holds results of another setup.
    """
    if path is None or not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["setup"] != setup:
        raise SystemExit(f"{path} holds results of another setup: {content['setup']}")
    results: Results = content["results"]
    return results


def write_results(path: Path | None, setup: Mapping[str, Any], results: Results) -> None:
    """Write results and what they were measured with."""
    if path is not None:
        content = {"setup": setup, "results": results}
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def aligned(rows: Sequence[Sequence[str]], *, markdown: bool) -> Iterable[str]:
    """Yield the lines of a table; the first row is its head, the first column stands left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"| {' | '.join(cells)} |" if markdown else "  ".join(cells).rstrip()
        if markdown and number == 0:
            yield f"|{'|'.join(['---', *['---:'] * (len(row) - 1)])}|"
