"""What keeps a training safe and resumable, for the command line that builds the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser

from samft.callbacks.checkpoint_files import BestCheckpoint
from samft.callbacks.metrics_log import RunLog
from samft.callbacks.non_finite import NonFinite
from samft.callbacks.run_record import RunRecord
from samft.callbacks.saving import Saving
from samft.callbacks.step_seed import StepSeed

SAFETY_CLASSES: Final = (BestCheckpoint, Saving, NonFinite)
"""Those whose settings people can give."""


def add_safety_arguments(parser: LightningArgumentParser) -> None:
    """Add `--saving.*` and `--non_finite.*`."""
    parser.add_lightning_class_args(Saving, "saving")
    parser.add_lightning_class_args(NonFinite, "non_finite")


def run_callbacks() -> list[Callback]:
    """Return what every training has and nobody need set."""
    return [RunRecord(), StepSeed()]


def run_log(root: Path, name: str, version: str) -> RunLog:
    """Return the logger of a new run folder, `root/name/version`."""
    return RunLog(root / name / version)
