"""`metrics.csv` of a run, which goes on where a resumed run does."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.csv_logs import CSVLogger, ExperimentWriter

from samft.errors import MachineError
from samft.inference.output_folder import write_atomically

_log = logging.getLogger(__name__)
_SCORES = ("val/", "zero_shot/")
_LONGEST_STEP = 20  # digits


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """From where a run goes on.

    Args:
        steps: Optimiser steps that are done.
        validates: Whether the validation after them is still to come.
    """

    steps: int
    validates: bool = False

    def keeps(self, row: Mapping[str, str]) -> bool:
        """Whether a row of the file is of what is done; the others will come again."""
        text = row.get("step") or ""
        if not is_step(text):
            return False  # cut short
        step = int(text)
        if step != self.steps - 1:
            return step < self.steps
        return not (self.validates and any(row[name] for name in row if _is_score(name)))


class RunLog(CSVLogger):
    """A `CSVLogger` for one folder, that replaces its file as a whole and can continue it.

    Args:
        folder: The run folder.
        resumed: From where the run goes on; `None` for a new one.
    """

    def __init__(self, folder: Path, resumed: Resumed | None = None) -> None:
        super().__init__(str(folder.parent), name="", version=folder.name)
        self._resumed = resumed
        self._ahead: str | None = None

    @rank_zero_only
    def log_metrics(
        self,
        metrics: dict[str, Any],  # Any: as Lightning's; numbers
        step: int | None = None,
    ) -> None:
        """Add a row, but not one that `log_ahead` has just added."""
        ahead, self._ahead = self._ahead, None
        if ahead != _described(metrics, step):
            super().log_metrics(metrics, step)

    @rank_zero_only
    def log_ahead(self, metrics: dict[str, Any], step: int) -> None:  # Any: numbers
        """Add the row of a step before Lightning does so, which is after the step is saved.

        A run that is killed in between would never get it.

        Args:
            metrics: What was logged in the step.
            step: Its number.
        """
        self.log_metrics(metrics, step)
        self._ahead = _described(metrics, step)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, made when it is first needed."""
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _Writer(self.log_dir, self._resumed)
        return self._experiment  # type: ignore[return-value]  # it is the one above


class _Writer(ExperimentWriter):
    """Lightning's writer, which would delete the file it finds."""

    def __init__(self, folder: str, resumed: Resumed | None) -> None:
        self._file = Path(folder) / self.NAME_METRICS_FILE
        self._warned = False
        found = [] if resumed is None else read_rows(self._file)
        super().__init__(log_dir=folder)
        kept = [row for row in found if resumed is not None and resumed.keeps(row)]
        if kept:
            self.metrics_keys = sorted(name for name in kept[0] if name)  # as the base class does
            self._replace(kept)
        else:
            self._file.unlink(missing_ok=True)

    def save(self) -> None:
        """Write what was logged; what a full disk refuses is kept for the next time."""
        keys = list(self.metrics_keys)
        size = self._file.stat().st_size if self._file.is_file() else 0
        try:
            super().save()
        except (OSError, MachineError) as error:
            self.metrics_keys = keys
            with suppress(OSError):
                os.truncate(self._file, size)
            if not self._warned:
                _log.warning("%s cannot be written now: %s", self._file, error)
            self._warned = True

    def _check_log_dir_exists(self) -> None:
        """Do not delete anything; the constructor has decided that."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._replace(read_rows(self._file))

    def _replace(self, rows: list[dict[str, Any]]) -> None:  # Any: text, by column
        def write(part: Path) -> None:
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=self.metrics_keys, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)

        write_atomically(self._file, write)


def read_rows(path: Path) -> list[dict[str, Any]]:  # Any: text, by column
    """Return the rows of a `metrics.csv`; those that a killed process left half-written have less.

    What follows a cell that no table has, longer than csv reads, is left out.

    Args:
        path: The file, which need not exist.
    """
    rows: list[dict[str, Any]] = []
    if path.is_file():
        with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
            rows.extend(csv.DictReader(line.replace("\0", "") for line in file))
    return rows


def is_step(text: str) -> bool:
    """Tell whether a cell is a number of steps."""
    return text.isascii() and text.isdigit() and len(text) < _LONGEST_STEP


def _described(metrics: Mapping[str, Any], step: int | None) -> str:
    return repr((step, sorted(metrics.items())))  # unlike numbers, equal for what is no number


def _is_score(name: str | None) -> bool:
    return name is not None and name.startswith(_SCORES)
