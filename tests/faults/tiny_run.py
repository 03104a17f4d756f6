"""A training so small that a run takes a blink, with everything a resumed one must repeat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import Dataset

from samft.callbacks.metrics_log import Resumed, RunLog
from samft.callbacks.saving import Saving
from samft.callbacks.step_seed import StepSeed
from samft.data.dataset import SampleKey
from samft.data.loader import ResumableLoader, ResumableSampler
from samft.exact_resume import go_on_exactly

BATCHES = 4


class Numbers(Dataset[Tensor]):
    """Random vectors, another one for every seed, as augmentation makes them."""

    def __len__(self) -> int:
        return 2 * BATCHES

    def __getitem__(self, key: SampleKey) -> Tensor:
        generator = torch.Generator().manual_seed(key.seed)
        return torch.randn(4, generator=generator) + key.index


class TinyModule(LightningModule):
    """A layer with dropout, learned with momentum and a schedule, and validated."""

    seed = 0

    def __init__(self, spoiled: Sequence[int] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        self.save_hyperparameters({"kind": "tiny"})
        self.spoiled = spoiled
        self.history: list[float] = []

    def on_train_start(self) -> None:
        go_on_exactly(self.trainer)  # as SamModule does

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.layers(batch).square().mean()
        if self.trainer.fit_loop.total_batch_idx in self.spoiled:
            loss = loss * float("nan")
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/score", -self.layers(batch).square().mean())

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.history.append(float(self.trainer.callback_metrics["val/score"]))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.05)
        steps = int(self.trainer.estimated_stepping_batches)  # makes the loaders, as SamModule does
        schedule = CosineAnnealingLR(optimizer, T_max=max(1, steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def train_dataloader(self):
        return numbers_loader(train=True)

    def val_dataloader(self):
        return numbers_loader(train=False)

    def on_save_checkpoint(self, checkpoint) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint) -> None:
        self.history = list(checkpoint["history"])


def numbers_loader(*, train: bool) -> ResumableLoader[Tensor]:
    sampler = ResumableSampler(2 * BATCHES, seed=3, shuffle=train, variants=None if train else 1)
    return ResumableLoader(Numbers(), sampler, batch_size=2, num_workers=0, collate_fn=torch.stack)


def fit(
    folder: Path,
    *callbacks: Callback,
    module: TinyModule | None = None,
    checkpoint: Path | None = None,
    resumed: Resumed | None = None,
    **settings: object,
) -> tuple[TinyModule, Trainer]:
    """Train in a run folder, from the beginning or from a checkpoint."""
    model = module or TinyModule()
    ours = list(callbacks)
    if not any(isinstance(callback, Saving) for callback in ours):
        ours.append(Saving())
    trainer = Trainer(
        **{
            "accelerator": "cpu",
            "max_epochs": 3,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": RunLog(folder, resumed),
            "callbacks": [StepSeed(), *ours],
            **settings,
        }
    )
    trainer.fit(model, ckpt_path=checkpoint, weights_only=True)
    return model, trainer


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"
