"""Where a training is, told to whoever watches it from outside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from benchmarks.soak.watching import FOLDER_VARIABLE, Phase, Seen


class Trace(Callback):
    """Writes, at every turn of a training, one short record over the one before.

    A callback without state and without random draws: the training is the same with and without.
    What Lightning hands to its methods beside the trainer (Any) is not looked at.
    """

    def __init__(self) -> None:
        self._file: int | None = None

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Begin: from now on training is under way."""
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder is not None:
            path = Path(folder) / str(trainer.global_rank)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._tell(trainer, "between")

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """A step begins."""
        self._tell(trainer, "step")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """A step ends."""
        self._tell(trainer, "between")

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """It validates."""
        if not trainer.sanity_checking:
            self._tell(trainer, "validation")

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        """It has validated."""
        if not trainer.sanity_checking:
            self._tell(trainer, "between")

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        """A checkpoint is about to be written."""
        self._tell(trainer, "saving")

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        """Training is over; what follows is saved already."""
        self._tell(trainer, "over")

    def _tell(self, trainer: Trainer, phase: Phase) -> None:
        if self._file is not None:
            batch = trainer.fit_loop.epoch_loop.batch_progress.total.ready
            now = Seen(os.getpid(), batch, trainer.global_step, phase)
            os.pwrite(self._file, now.text(), 0)
