"""The picture of a run's curves."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from samft import SamModule, SyntheticDataModule
from samft.callbacks.curves import Curves, draw
from samft.callbacks.throughput import Throughput


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def test_scores_and_their_zero_shot_values_are_drawn() -> None:
    history = [{"epoch": e, "val/iou_box": 0.1 * e, "val/iou": 0.1 * e} for e in range(4)]
    with_line = pixels(draw({0: 1.0, 1: 0.5}, history, {"val/iou_box": 0.9}))
    without = pixels(draw({0: 1.0, 1: 0.5}, history, {}))
    assert with_line.shape == without.shape == (400, 1000, 3)
    blue = (with_line[..., 2] - with_line[..., 0] > 60) & (without.sum(axis=2) > 600)
    rows = np.flatnonzero(blue.any(axis=1))
    assert 0 < len(rows) < 12  # one dashed line, near the top
    assert rows.max() < 150


def test_nothing_to_draw_yet() -> None:
    assert pixels(draw({}, [], {})).shape == (400, 1000, 3)


def test_a_run_leaves_its_curves_and_speed(tmp_path: Path) -> None:
    module = SamModule("vit_nano", image_size=64, adapt="full", prompts={"rounds": 0})
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(tmp_path, name="", version="0"),
        callbacks=[Curves(), Throughput()],
        num_sanity_val_steps=-1,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    data = SyntheticDataModule(num_train=6, num_val=1, batch_size=2, size=64)
    trainer.fit(module, datamodule=data)
    assert (tmp_path / "0" / "curves.png").is_file()
    assert trainer.callback_metrics["speed/images_per_s"] > 0
    assert trainer.callback_metrics["speed/objects_per_s"] > 0
    assert 0.05 < trainer.callback_metrics["speed/memory_gb"] < 100


def test_a_resumed_run_remembers_its_losses() -> None:
    first, second = Curves(), Curves()
    first._losses = {0: 1.5}
    second.load_state_dict(first.state_dict())
    assert second._losses == {0: pytest.approx(1.5)}


def test_the_loss_of_an_epoch_is_that_of_both_of_its_halves() -> None:
    trainer = SimpleNamespace(callback_metrics={}, current_epoch=3, is_global_zero=False)
    trainer.logger, trainer.default_root_dir = None, "."

    def step(curves: Curves, loss: float) -> None:
        trainer.callback_metrics["train/loss"] = torch.tensor(loss)
        curves.on_train_batch_end(trainer, None, None, None, 0)

    first, second = Curves(), Curves()
    for loss in (4.0, 2.0):
        step(first, loss)
    second.load_state_dict(first.state_dict())
    step(second, 0.0)
    second.on_train_epoch_end(trainer, None)
    assert second.state_dict() == {"losses": {3: 2.0}, "sum": 0.0, "count": 0}
