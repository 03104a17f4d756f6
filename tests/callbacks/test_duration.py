"""How long a training took."""

import itertools

import pytest
import torch
from quick_trainer import quick_trainer

import samft.callbacks.duration
from samft import SamModule, SyntheticDataModule
from samft.callbacks.duration import TrainingTime, recorded_time
from samft.checkpoints import read_checkpoint


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [100.0]
    monkeypatch.setattr(samft.callbacks.duration.time, "monotonic", lambda: now[0])
    return now


class FakeTrainer:
    world_size = 2


class FakeModule:
    device = torch.device("cpu")


def test_validation_does_not_count_and_a_resumed_run_goes_on(clock) -> None:
    timer = TrainingTime()
    timer.on_validation_start(FakeTrainer, FakeModule)  # before training
    clock[0] += 50
    timer.on_validation_end(FakeTrainer, FakeModule)
    assert timer.seconds == 0
    timer.on_train_start(FakeTrainer, FakeModule)
    clock[0] += 3
    timer.on_validation_start(FakeTrainer, FakeModule)
    clock[0] += 1000
    assert timer.state_dict() == {"seconds": 3.0, "devices": 2, "device": "cpu"}
    timer.on_validation_end(FakeTrainer, FakeModule)
    clock[0] += 4
    timer.on_train_end(FakeTrainer, FakeModule)
    clock[0] += 5
    assert timer.seconds == 7
    resumed = TrainingTime()
    resumed.load_state_dict(timer.state_dict())
    resumed.on_train_start(FakeTrainer, FakeModule)
    clock[0] += 10
    assert resumed.seconds == 17


def test_checkpoints_keep_it_as_plain_data(tmp_path, monkeypatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(samft.callbacks.duration.time, "monotonic", lambda: float(next(ticks)))
    module = SamModule("vit_nano", image_size=64, prompts={"rounds": 0})
    data = SyntheticDataModule(num_train=1, num_val=1, batch_size=1, size=64)
    trainer = quick_trainer(tmp_path, max_steps=1, callbacks=[TrainingTime()])
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    found = recorded_time(read_checkpoint(tmp_path / "last.ckpt"))
    assert found is not None
    assert found["seconds"] > 0
    assert (found["devices"], found["device"]) == (1, "cpu")


@pytest.mark.parametrize(
    "checkpoint",
    [
        {},
        {"callbacks": {}},
        {"callbacks": [1]},
        {"callbacks": {"TrainingTime": {"seconds": 0.0}}},
        {"callbacks": {"TrainingTime": {"seconds": "1", "devices": 1, "device": "cpu"}}},
        {"callbacks": {"TrainingTime": {"seconds": 1.0, "devices": 0, "device": "cpu"}}},
        {"callbacks": {"TrainingTime": {"seconds": 1.0, "devices": 1, "device": None}}},
    ],
)
def test_a_run_that_does_not_say(checkpoint) -> None:
    assert recorded_time(checkpoint) is None
