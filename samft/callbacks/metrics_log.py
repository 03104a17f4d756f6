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
from lightning.pytorch.loggers.csv_logs import CSVLogger, ExperimentWriter

from samft.errors import MachineError
from samft.inference.output_folder import write_atomically

_log = logging.getLogger(__name__)
_SCORES = ("val/", "zero_shot/")


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
        if not text.isdigit():
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
        found = [] if resumed is None else _read(self._file)
        super().__init__(log_dir=folder)
        kept = [row for row in found if resumed is not None and resumed.keeps(row)]
        if kept:
            self.metrics_keys = [name for name in kept[0] if name]
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
        self._replace(_read(self._file))

    def _replace(self, rows: list[dict[str, Any]]) -> None:  # Any: text, by column
        def write(part: Path) -> None:
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=self.metrics_keys, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)

        write_atomically(self._file, write)


def _read(path: Path) -> list[dict[str, Any]]:  # Any: text, by column
    """Return the rows of the file; those that a killed process left half-written have less."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return list(csv.DictReader(line.replace("\0", "") for line in file))


def _is_score(name: str | None) -> bool:
    return name is not None and name.startswith(_SCORES)
