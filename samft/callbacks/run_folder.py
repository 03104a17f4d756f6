"""Where a run writes, without asking the other processes."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer


def run_folder(trainer: Trainer) -> Path | None:
    """Return the folder of the first logger of this process, or the trainer's without a logger.

    `Trainer.log_dir` says the same, but waits until every process has asked: what only the first
    one does must not use it. Folders of other processes may differ; only the first one's counts.

    Args:
        trainer: The trainer.
    """
    logger = trainer.logger
    if logger is None:
        return Path(trainer.default_root_dir)
    place = getattr(logger, "log_dir", None) or logger.save_dir
    return None if place is None else Path(place)
