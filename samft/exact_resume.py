"""What Lightning leaves undone when a run goes on, so that it goes on exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def go_on_exactly(trainer: Trainer) -> None:
    """Put a training that was restored from a checkpoint where it was.

    To be called from `on_train_start` of a module. A training that starts anew stays as it is.

    Args:
        trainer: The trainer, whose checkpoint is read.
    """
    loop = trainer.fit_loop
    # Lightning hands the loaders their state when it makes them; but a schedule that asks for the
    # number of steps has them made before the checkpoint is read, and the epoch would begin again.
    loop._load_combined_loader_states()
    if loop.restarted_on_epoch_end:
        # With `max_steps` it takes an epoch that is over for one in the middle, and skips the next.
        loop._restarting = False
        loop.epoch_loop.restarting = False
        loop.epoch_loop.reset_restart_stage()
        loop.epoch_loop.val_loop.reset_restart_stage()
        loop.reset_restart_stage()
        loop.epoch_progress.increment_completed()
