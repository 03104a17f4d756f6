"""What people see while a prediction runs, and at its end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from samft.data.sources import Source
from samft.errors import SamftError
from samft.inference.campaign import Outcome, predict_sources
from samft.inference.segmenters import Segmenter
from samft.inference.writers import PredictionFiles

_FINDINGS = 1
_SHOWN_NAME = 40


def run_with_report(
    sources: Sequence[Source],
    segmenter: Segmenter,
    files: PredictionFiles,
    *,
    failures: Mapping[str, SamftError] | None = None,
) -> int:
    """Predict with a progress bar, and print what became of the sources.

    Returns:
        0, or 1 if some could not be predicted.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=len(sources))
            finished = {"count": 0}

            def report(name: str, done: int, total: int) -> None:
                finished["count"] += done == total
                part = f" {done}/{total}" if 0 < done < total else ""
                short = name if len(name) <= _SHOWN_NAME else f"...{name[-_SHOWN_NAME:]}"
                share = done / total if done < total else 0  # of a volume, so that the bar moves
                progress.update(task, completed=finished["count"] + share, description=short + part)

            outcome = predict_sources(sources, segmenter, files, failures=failures, report=report)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on with what is in {files.out}", file=sys.stderr)
        raise
    return _summary(outcome, files)


def _summary(outcome: Outcome, files: PredictionFiles) -> int:
    parts = [f"{outcome.done} predicted"]
    if outcome.skipped:
        parts.append(f"{outcome.skipped} finished before")
    if outcome.failures:
        parts.append(f"{len(outcome.failures)} failed")
    print(f"images       {', '.join(parts)}")
    print(f"predictions  {files.out}")
    if not outcome.failures:
        return 0
    for name, error in sorted(outcome.failures.items()):
        print(f"failed       {name}\n  {type(error).__name__}: {error}", file=sys.stderr)
    return _FINDINGS
