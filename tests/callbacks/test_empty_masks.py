"""A run whose masks stay empty stops itself; one that learns does not."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer

from samft import SamModule, SyntheticDataModule
from samft.callbacks.empty_masks import SCORE, StopEmptyMasks
from samft.errors import ConfigError, TrainingError


def feed(callback: StopEmptyMasks, ious: list[float], first: int = 1) -> None:
    for step, iou in enumerate(ious, start=first):
        trainer = SimpleNamespace(global_step=step, callback_metrics={SCORE: torch.tensor(iou)})
        callback.on_train_batch_end(trainer, None, None, None, step)


def test_empty_masks_stop_the_run() -> None:
    with pytest.raises(TrainingError) as caught:
        feed(StopEmptyMasks(after_steps=5), [0.001] * 5)
    lines = str(caught.value).splitlines()
    assert lines[0] == "after 5 steps the masks are still empty"
    assert "found: 0.001, expected: at least 0.02" in lines[1]
    assert "loss.balanced_bce 1.0" in lines[2]
    assert len(lines) == 3


def test_one_lucky_batch_is_not_enough() -> None:
    with pytest.raises(TrainingError):
        feed(StopEmptyMasks(after_steps=30), [0.0] * 29 + [0.15])


@pytest.mark.parametrize("ious", [[0.3] * 5, [0.0, 0.1, 0.2, 0.3, 0.4], [0.3] * 5 + [0.0] * 20])
def test_a_run_that_learns_goes_on(ious: list[float]) -> None:
    feed(StopEmptyMasks(after_steps=5), ious)


def test_zero_switches_it_off() -> None:
    feed(StopEmptyMasks(after_steps=0), [0.0] * 10)


def test_a_resumed_run_is_judged_by_all_its_steps() -> None:
    first, second = StopEmptyMasks(after_steps=6), StopEmptyMasks(after_steps=6)
    feed(first, [0.5] * 5)
    second.load_state_dict(first.state_dict())
    feed(second, [0.0], first=6)


@pytest.mark.parametrize("settings", [{"after_steps": -1}, {"least_iou": 1.5}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="where: empty_masks"):
        StopEmptyMasks(**settings)


def test_training_feeds_it() -> None:
    module = SamModule("vit_nano", image_size=64, adapt="full", prompts={"rounds": 0})
    trainer = Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        callbacks=[StopEmptyMasks(after_steps=2, least_iou=1.0)],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    data = SyntheticDataModule(num_train=4, num_val=0, batch_size=1, size=64, image_size=64)
    with pytest.raises(TrainingError, match="after 2 steps"):
        trainer.fit(module, datamodule=data)
