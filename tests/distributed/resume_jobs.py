"""Two processes go on from a checkpoint, with the strategy that wrote it and with the other one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import torch
from lightning.pytorch import Callback, Trainer

from samft import PromptSettings, SamModule, SyntheticDataModule

STEPS = 2
WAYS = (("ddp", "sharded"), ("sharded", "ddp"), ("sharded", "sharded"))  # from, with


class SaveInTheMiddle(Callback):
    """Saves after the first step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            trainer.save_checkpoint(self.path)


def train(out: Path, strategy: str, *, start: Path | None = None) -> None:
    """Train all of a small model, from the beginning or from a checkpoint, and save the end."""
    torch.manual_seed(0 if start is None else 1)
    few = PromptSettings(rounds=0, max_objects_per_image=3)
    module = SamModule("vit_nano", image_size=64, adapt="full", prompts=few, seed=3)
    data = SyntheticDataModule(num_train=2 * STEPS, num_val=2, size=64, batch_size=1)
    callbacks = [SaveInTheMiddle(out / f"middle_{strategy}.ckpt")] if start is None else []
    run = jobs.trainer(
        jobs.STRATEGIES[strategy](), max_steps=STEPS, limit_val_batches=0, callbacks=callbacks
    )
    run.fit(module, data, ckpt_path=start, weights_only=True)
    came_from = "" if start is None else f"_from_{start.stem.removeprefix('middle_')}"
    run.save_checkpoint(out / f"end_{strategy}{came_from}.ckpt")


def all_ways(out: Path) -> None:
    """Train with each strategy, and go on from the middle of each with each."""
    for strategy in jobs.STRATEGIES:
        train(out, strategy)
    for start, strategy in WAYS:
        train(out, strategy, start=out / f"middle_{start}.ckpt")
