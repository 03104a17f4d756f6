"""Schedules: their shape, and that plateau and warm-up live together and survive a restart."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from samft.optim import (
    OptimizerSettings,
    build_optimizer,
    build_schedule,
    lightning_optimizers,
    rate_curve,
)


def network() -> nn.ModuleDict:
    parts = {"image_encoder": nn.Linear(2, 2), "mask_decoder": nn.Linear(2, 1)}
    return nn.ModuleDict(parts)


def test_warm_up_then_cosine() -> None:
    curve = rate_curve(OptimizerSettings(warmup_steps=10), total_steps=110)
    assert curve(0) == pytest.approx(1 / 11)
    assert curve(9) == pytest.approx(10 / 11)
    assert curve(10) == pytest.approx(1.0)
    assert curve(60) == pytest.approx(0.505)
    assert curve(110) == curve(500) == pytest.approx(0.01)


def test_default_is_bit_equal_to_what_it_always_was() -> None:
    curve = rate_curve(OptimizerSettings(), total_steps=997)
    for step in range(1000):
        progress = min(1.0, (step - 50) / 947)
        cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        assert curve(step) == ((step + 1) / 51 if step < 50 else cosine)


def test_constant_stays() -> None:
    curve = rate_curve(OptimizerSettings(warmup_steps=0, schedule="constant"), total_steps=10)
    assert [curve(step) for step in (0, 5, 99)] == [1.0, 1.0, 1.0]


def test_without_a_set_end_the_warm_up_is_as_long_as_it_says() -> None:
    settings = OptimizerSettings(warmup_steps=250, schedule="constant")
    curve = rate_curve(settings, total_steps=math.inf)
    assert [curve(step) for step in (0, 249, 250, 10**9)] == [1 / 251, 250 / 251, 1.0, 1.0]


def test_linear_and_poly_end_where_they_are_told() -> None:
    settings = {"warmup_steps": 20, "end_factor": 0.1}
    linear = rate_curve(OptimizerSettings(schedule="linear", **settings), total_steps=120)
    poly = rate_curve(OptimizerSettings(schedule="poly", **settings), total_steps=120)
    assert linear(20) == poly(20) == 1.0
    assert linear(70) == pytest.approx(0.55)
    assert poly(70) == pytest.approx(0.1 + 0.9 * 0.5**0.9)
    assert linear(120) == linear(400) == poly(120) == pytest.approx(0.1)


def test_step_drops_where_sam_did() -> None:
    settings = OptimizerSettings(schedule="step", warmup_steps=250, step_first=2 / 3)
    curve = rate_curve(settings, total_steps=90_000)
    assert [curve(step) for step in (250, 59_999, 60_000, 86_600)] == [1.0, 1.0, 0.1, 0.1]
    assert curve(86_700) == pytest.approx(0.01)


def test_short_runs_still_reach_the_peak() -> None:
    curve = rate_curve(OptimizerSettings(warmup_steps=250), total_steps=20)
    assert max(curve(step) for step in range(20)) == pytest.approx(1.0)


def test_schedule_scales_every_group() -> None:
    optimizer = build_optimizer(network(), OptimizerSettings(lr=1e-3, encoder_lr_factor=0.5))
    schedule = build_schedule(optimizer, OptimizerSettings(warmup_steps=3), total_steps=100)
    assert schedule.get_last_lr()[0] == pytest.approx(0.5e-3 / 4)
    assert schedule.get_last_lr()[-1] == pytest.approx(1e-3 / 4)


@pytest.mark.parametrize("method", ["adamw", "muon"])
def test_lightning_gets_one_schedule_per_step(method: str) -> None:
    settings = OptimizerSettings(method=method, warmup_steps=4)
    optimizers, schedules = lightning_optimizers(
        network(), settings, total_steps=100, batches_per_epoch=10
    )
    assert [item["interval"] for item in schedules] == ["step"]
    assert schedules[0]["scheduler"].optimizer is optimizers[0]


class Scored(LightningModule):
    """Has the scores it is told, one per epoch, and notes the decoder's rate before every step."""

    def __init__(self, scores: list[float], **settings: object) -> None:
        super().__init__()
        self.model = network()
        self.given = scores
        self.settings = OptimizerSettings(schedule="plateau", lr=1e-2, **settings)
        self.rates: list[float] = []

    def configure_optimizers(self) -> tuple:
        return lightning_optimizers(
            self.model,
            self.settings,
            total_steps=int(self.trainer.estimated_stepping_batches),
            batches_per_epoch=self.trainer.num_training_batches,
        )

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.rates.append(self.optimizers().param_groups[-1]["lr"])
        return self.model["mask_decoder"](self.model["image_encoder"](batch)).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        self.log("val/iou", self.given[self.current_epoch])


def fit(module: Scored, folder: Path, *, epochs: int, resume: Path | None = None) -> None:
    data = torch.arange(12.0).view(6, 2) / 12
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        accumulate_grad_batches=2,
        callbacks=[
            ModelCheckpoint(
                folder,
                filename="{epoch}",
                save_top_k=-1,
                save_on_train_epoch_end=True,
                monitor=None,
            )
        ],
    )
    loader = DataLoader(data, batch_size=1)
    trainer.fit(module, loader, DataLoader(data, batch_size=6), ckpt_path=resume, weights_only=True)


def test_plateau_drops_when_scores_stall_after_the_warm_up(tmp_path: Path) -> None:
    module = Scored(
        [0.1, 0.2, 0.2, 0.2, 0.3], warmup_steps=2, plateau_patience=1, plateau_factor=0.5
    )
    fit(module, tmp_path, epochs=5)
    per_step = module.rates[::2]
    rising = [1e-2 / 3, 2e-2 / 3, 1e-2]
    assert per_step[:3] == pytest.approx(rising)
    assert per_step[3:12] == pytest.approx([1e-2] * 9)
    assert per_step[12:] == pytest.approx([5e-3] * 3)


def test_plateau_stops_at_the_end_factor_and_can_watch_a_loss(tmp_path: Path) -> None:
    module = Scored(
        [0.1, 0.2, 0.3, 0.4, 0.5],
        warmup_steps=0,
        plateau_patience=0,
        plateau_factor=0.1,
        plateau_mode="min",
        end_factor=0.05,
    )
    fit(module, tmp_path, epochs=5)
    assert module.rates[::6] == pytest.approx([1e-2, 1e-2, 1e-3, 5e-4, 5e-4])


def test_plateau_resumed_from_an_epochs_checkpoint_goes_on_bit_equal(tmp_path: Path) -> None:
    scores = [0.3, 0.2, 0.2, 0.2, 0.2]
    settings = {"warmup_steps": 2, "plateau_patience": 1, "plateau_factor": 0.5}
    whole = Scored(scores, **settings)
    fit(whole, tmp_path, epochs=5)
    for epoch in range(4):
        rest = Scored(scores, **settings)
        fit(rest, tmp_path / "rest", epochs=5, resume=tmp_path / f"epoch={epoch}.ckpt")
        assert rest.rates == whole.rates[6 * (epoch + 1) :]
        for ours, theirs in zip(rest.parameters(), whole.parameters(), strict=True):
            assert torch.equal(ours, theirs)
