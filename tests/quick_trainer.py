"""A trainer that writes and prints nothing."""

from pathlib import Path

from lightning.pytorch import Trainer


def quick_trainer(folder: Path, **settings: object) -> Trainer:
    """Return a trainer on the CPU, without logger, checkpoints and progress."""
    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": folder,
    }
    return Trainer(**{**quiet, **settings})
