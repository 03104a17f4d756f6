"""When a run is saved: from time to time, after every epoch, and before it is made to end."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.apply_func import convert_tensors_to_scalars
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, Timer

from samft.callbacks.checkpoint_files import SafeCheckpointIO, reason_of
from samft.callbacks.metrics_log import RunLog
from samft.callbacks.requeue import queue_again
from samft.callbacks.stopping import Stop, StopSignals, TrainingStopped, parse_duration
from samft.errors import ConfigError, MachineError
from samft.safe_checkpoint import remove_leftovers

LAST = "last.ckpt"
_log = logging.getLogger(__name__)
_VALIDATION = "epoch_loop.val_loop.batch_progress"
_SHARE = 20  # of the time since the last one, which another checkpoint may take


class Saving(Checkpoint):
    """Keeps `checkpoints/last.ckpt`, from which the run goes on exactly as if it had not stopped.

    It is written after every epoch, every few minutes, and when the run is asked to end: by
    Ctrl-C, SIGTERM, SIGUSR1 (what SLURM sends before it takes the machine away), `max_time` of the
    trainer, or `stop_after`. The run then ends after the optimiser step it is in; a second Ctrl-C
    ends it at once.

    Args:
        every_minutes: Save at the first step after so many minutes; 0 for after epochs alone.
        every_n_steps: Save after every n-th optimiser step as well; 0 for not.
        max_failures: After so many failed attempts in a row to write a checkpoint, stop. Until
            then training goes on, and the last good one stays.
        stop_after: Save and end before this process has run for so long: HH:MM:SS, or D-HH:MM:SS.
            Set it a few minutes below the limit of the queue. `max_time` of the trainer counts the
            training of all processes of the run.
        requeue: On SIGUSR1 in a SLURM job, ask SLURM to start the job again.
    """

    def __init__(
        self,
        every_minutes: float = 10.0,
        every_n_steps: int = 0,
        max_failures: int = 3,
        stop_after: str | None = None,
        requeue: bool = True,
    ) -> None:
        if every_minutes < 0 or every_n_steps < 0 or max_failures < 1:
            raise ConfigError(
                "every_minutes and every_n_steps must be at least 0, max_failures at least 1",
                where="saving",
                found=f"{every_minutes:g}, {every_n_steps} and {max_failures}",
            )
        self.every_minutes = every_minutes
        self.every_n_steps = every_n_steps
        self.max_failures = max_failures
        self.stop_after = None if stop_after is None else _seconds(stop_after)
        self.requeue = requeue
        self.max_time: float | None = None
        self.signals = StopSignals()
        self.path = Path(LAST)
        self.saved_step: int | None = None
        self._stop = Stop.NOT  # what all processes have agreed on
        self._active = False
        self._validating = False
        self._trained = 0.0  # seconds, in earlier processes
        self._started = time.monotonic()
        self._since = self._saved_at = self._step_at = self._started
        self._cost = self._step_cost = 0.0

    def state_dict(self) -> dict[str, float]:
        """Remember how long the run has trained."""
        return {"trained_seconds": self._time_trained()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore how long the run has trained."""
        self._trained = state_dict["trained_seconds"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder, clear it of half-written files, and take over files and time limits."""
        self._active = stage == "fit" and not vars(trainer)["fast_dev_run"]
        if not self._active:
            return
        folder = trainer.strategy.broadcast(trainer.log_dir or trainer.default_root_dir)
        self.path = Path(folder) / "checkpoints" / LAST
        if trainer.is_global_zero and remove_leftovers(self.path.parent):
            _log.info("removed a half-written checkpoint from %s", self.path.parent)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = SafeCheckpointIO()
        # Lightning's timer would end a run in the middle of an epoch and call the epoch done.
        callbacks: list[Callback] = vars(trainer)["callbacks"]
        timers = [callback for callback in callbacks if isinstance(callback, Timer)]
        limits = [timer.time_remaining() for timer in timers]
        self.max_time = min((limit for limit in limits if limit is not None), default=None)
        vars(trainer)["callbacks"] = [one for one in callbacks if one not in timers]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the validation before training where there was training: it is no zero-shot."""
        if self._active and trainer.ckpt_path is not None:
            trainer.num_sanity_val_steps = 0

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen to signals, now that Lightning has set up its own."""
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks."""
        self._listen()
        self._since = self._saved_at = self._step_at = time.monotonic()
        if self._active and trainer.ckpt_path is not None:
            self.saved_step = trainer.global_step
        if self._active and self.max_time is not None and self._trained >= self.max_time:
            _log.warning("the run has used up trainer.max_time; a higher one prolongs it")
            raise TrainingStopped(Stop.TIME_LIMIT)

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # Any: Lightning's signature
        batch_idx: int,
    ) -> None:
        """End the run if that was asked for: the state before this batch is saved."""
        if self._active and self._stop:
            self._end(trainer)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # Any: Lightning's signature
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save if it is time, or if the run is to end.

        Raises:
            MachineError: if checkpoints cannot be written any more.
        """
        now = time.monotonic()
        self._step_cost, self._step_at = now - self._step_at, now
        if not self._active or not _between_steps(trainer):
            return
        if self._agree(trainer, due=self._due(trainer)):
            _log_ahead(trainer)
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save before a validation, which may take long, where that is cheap or the run ends."""
        if not self._active or trainer.sanity_checking:
            return
        # Where a validation is done again Lightning still counts the batch that was broken off.
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()
        waited = time.monotonic() - self._saved_at
        if self._agree(trainer, due=waited >= _SHARE * self._cost):
            self._validating = True
            try:
                self._save(trainer)
            finally:
                self._validating = False
        if self._stop:
            self._end(trainer)

    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # Any: Lightning's signature
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Leave a validation that need not be finished, in a single process.

        Several would have to agree, and need not have equally many batches.
        """
        if self._active and trainer.world_size == 1 and self._wish():
            self._stop = self._wish()
            self._end(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save a run that validation has ended in the middle of an epoch."""
        self._step_at = time.monotonic()
        if self._active and trainer.should_stop and not _epoch_is_over(trainer):
            self._agree(trainer, due=True)
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save what stays; a run that ends in the middle of an epoch was saved there."""
        if self._active and _epoch_is_over(trainer):
            self._agree(trainer, due=True)
            self._save(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Stop listening to signals."""
        self.signals.release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop listening to signals."""
        self.signals.release()

    def on_save_checkpoint(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        checkpoint: dict[str, Any],  # Any: Lightning's layout is untyped
    ) -> None:
        """Let a run that was saved before a validation go on with that validation."""
        if self._validating:
            progress = checkpoint["loops"]["fit_loop"][_VALIDATION]
            for part in ("total", "current"):
                # Lightning's own sign for a validation that was broken off, in its first batch.
                done = progress[part]["completed"]
                progress[part] |= {"ready": done + 1, "started": done + 1, "processed": done}

    def _listen(self) -> None:
        if self._active:
            self.signals.install()

    def _time_trained(self) -> float:
        return self._trained + (time.monotonic() - self._since if self._active else 0.0)

    def _wish(self) -> Stop:
        """Return what this process wants to end for."""
        ahead = self._step_cost + self._cost  # what happens before the next chance to end
        limits = (
            (self.stop_after, time.monotonic() - self._started),
            (self.max_time, self._time_trained()),
        )
        late = any(limit is not None and spent + ahead >= limit for limit, spent in limits)
        return max(self.signals.received, Stop.TIME_LIMIT if late else Stop.NOT)

    def _due(self, trainer: Trainer) -> bool:
        """Whether this process wants to save after this step."""
        waited = time.monotonic() - self._saved_at
        by_time = 0 < self.every_minutes * 60 <= waited
        by_step = self.every_n_steps > 0 and trainer.global_step % self.every_n_steps == 0
        return by_time or by_step or trainer.global_step == trainer.max_steps

    def _agree(self, trainer: Trainer, *, due: bool) -> bool:
        """Settle what all processes do next; return whether they save.

        Raises:
            MachineError: if checkpoints cannot be written any more.
        """
        files = trainer.strategy.checkpoint_io
        failed = isinstance(files, SafeCheckpointIO) and files.failures >= self.max_failures
        mine = torch.tensor([float(self._wish()), float(due), float(failed)])
        if trainer.world_size > 1:
            root = trainer.strategy.root_device
            mine = trainer.strategy.reduce(mine.to(root), reduce_op="max").cpu()
        stop, wanted, given_up = mine.tolist()
        if given_up:
            raise MachineError(
                f"{self.max_failures} times in a row no checkpoint could be written",
                where=self.path.parent,
                found=_reason(files),
                fix=f"make room, then go on: samft resume {self.path.parents[1]}",
            )
        self._stop = max(self._stop, Stop(int(stop)))
        return bool(wanted) or bool(self._stop)

    def _save(self, trainer: Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # a checkpoint without the scores before it would lose them
        start = time.monotonic()
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - start
        files = trainer.strategy.checkpoint_io
        if not (isinstance(files, SafeCheckpointIO) and files.failed(self.path)):
            self.saved_step = trainer.global_step

    def _end(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            _log.warning("%s", self._farewell(trainer))
            if self._stop is Stop.REQUEUE and self.requeue:
                queue_again()
        raise TrainingStopped(self._stop)

    def _farewell(self, trainer: Trainer) -> str:
        run = self.path.parents[1]
        if not self.path.is_file():
            return f"stopped by {self._stop.words} before anything was saved"
        saved = "" if self.saved_step is None else f" of step {self.saved_step}"
        lost = trainer.global_step - (self.saved_step or 0)
        late = f"; the {lost} steps after it are lost" if saved and lost else ""
        return (
            f"stopped by {self._stop.words} after step {trainer.global_step}; "
            f"the state{saved} is in {self.path}{late}\n  go on with: samft resume {run}"
        )


def _log_ahead(trainer: Trainer) -> None:
    """Write this step's row of `metrics.csv` before the step is saved, not after it."""
    connector = trainer._logger_connector
    row = convert_tensors_to_scalars(connector.metrics["log"])
    if not connector.should_update_logs or not row or "step" in row:
        return
    row.setdefault("epoch", trainer.current_epoch)
    for logger in trainer.loggers:
        if isinstance(logger, RunLog):
            logger.log_ahead(row, trainer.fit_loop.epoch_loop._batches_that_stepped)


def _between_steps(trainer: Trainer) -> bool:
    """Whether a state saved now is complete: no gradients wait, and no validation is due.

    At the end of an epoch the state that counts is that before the validation, or after the epoch.
    """
    loop = trainer.fit_loop.epoch_loop
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None  # it has just delivered a batch
    if _epoch_is_over(trainer) or loop._should_accumulate():
        return False
    return not loop._should_check_val_fx(fetcher)


def _epoch_is_over(trainer: Trainer) -> bool:
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return progress.is_last_batch or progress.current.ready >= trainer.num_training_batches


def _seconds(text: str) -> float:
    return parse_duration(text, where="saving.stop_after")


def _reason(files: object) -> str:
    error = getattr(files, "error", None)
    return "" if error is None else reason_of(error)
