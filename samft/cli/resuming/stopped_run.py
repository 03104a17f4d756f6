"""A run that has stopped: which of its checkpoints is good, and how far it had come."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from samft.callbacks.metrics_log import is_step, read_rows
from samft.checkpoints import read_checkpoint
from samft.errors import CheckpointError
from samft.runs import FIT_CONFIG
from samft.safe_checkpoint import first_readable

_log = logging.getLogger(__name__)
_NAMES = ("last", "best")
# What reading numbers out of Lightning's nested dictionaries raises where they are others.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoppedRun:
    """Where a run goes on.

    Args:
        folder: The run folder.
        checkpoint: The newest that can be read; `None` if there was none yet.
        step: Optimiser steps done.
        epoch: Epochs done.
        validates: Whether the validation after those steps is still to come.
        stopped_early: Whether the run has ended itself, for a score that got no better.
    """

    folder: Path
    checkpoint: Path | None = None
    step: int = 0
    epoch: int = 0
    validates: bool = False
    stopped_early: bool = False

    @property
    def config(self) -> Path:
        """The configuration of the run."""
        return self.folder / FIT_CONFIG

    def finished(self, *, max_epochs: int | None, max_steps: int | None) -> bool:
        """Whether there is nothing left to do until a number of epochs or steps; -1 is no limit."""
        by_epochs = max_epochs is not None and 0 <= max_epochs <= self.epoch
        by_steps = max_steps is not None and 0 <= max_steps <= self.step
        return self.checkpoint is not None and (by_epochs or by_steps)


def find_stopped_run(path: str | Path) -> StoppedRun:
    """Open a run folder to go on with it.

    Args:
        path: The folder, its `checkpoints` folder, or a checkpoint in that.

    Raises:
        CheckpointError: if it is no run folder, or none of its checkpoints can be read.
    """
    folder = _folder_of(Path(path).expanduser())
    checkpoints = [folder / "checkpoints" / f"{name}.ckpt" for name in _NAMES]
    found, problems = first_readable(checkpoints)
    if found is None and problems:
        raise CheckpointError(
            "no checkpoint of this run can be read",
            where=problems[0].where,
            found=problems[0].found,
            fix="start again: samft fit --config " + str(folder / FIT_CONFIG),
        )
    if found is None:
        return StoppedRun(folder=folder)
    run = _opened(folder, found)
    for problem in problems:
        lost = max(0, _logged_steps(folder) - run.step)
        _log.warning(
            "%s: %s (%s); %s is used, of step %d: %s",
            *(problem.where, problem.what, problem.found, found.name, run.step, _lost(lost)),
        )
    return run


def _folder_of(place: Path) -> Path:
    if place.is_file() or place.name == "checkpoints":
        place = place.parent
    if place.name == "checkpoints":
        place = place.parent
    if (place / FIT_CONFIG).is_file():
        return place
    raise CheckpointError(
        "this is not the folder of a run",
        where=place.absolute(),
        expected=f"{FIT_CONFIG} in it",
        fix="give a folder such as runs/quickstart/0",
    )


def _opened(folder: Path, checkpoint: Path) -> StoppedRun:
    content = read_checkpoint(checkpoint)
    try:
        loops = content["loops"]["fit_loop"]
        validation = loops["epoch_loop.val_loop.batch_progress"]["current"]
        return StoppedRun(
            folder=folder,
            checkpoint=checkpoint,
            step=int(content["global_step"]),
            epoch=int(loops["epoch_progress"]["current"]["processed"]),
            validates=int(validation["ready"]) > int(validation["completed"]),
            stopped_early=any(_gave_up(state) for state in content.get("callbacks", {}).values()),
        )
    except _MALFORMED as error:
        raise CheckpointError(
            "the checkpoint does not say how far the run had come",
            where=checkpoint,
            found=f"{type(error).__name__}: {str(error)[:80]}",
            expected="the loops, global_step and callbacks that Lightning writes",
            fix=f"start again: samft fit --config {folder / FIT_CONFIG}",
        ) from error


def _gave_up(state: object) -> bool:
    """Whether a callback's state is that of an `EarlyStopping` which has ended the run."""
    return isinstance(state, Mapping) and bool(state.get("stopped_epoch", 0))


def _logged_steps(folder: Path) -> int:
    """Return how many steps `metrics.csv` knows of."""
    path = folder / "metrics.csv"
    if not path.is_file():
        return 0
    steps = (row.get("step") or "" for row in read_rows(path))
    return max((int(step) + 1 for step in steps if is_step(step)), default=0)


def _lost(steps: int) -> str:
    return f"about {steps} steps are lost and will be done again" if steps else "little is lost"
