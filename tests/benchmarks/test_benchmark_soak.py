"""The soak test sees what it is to see: damage, and results that differ."""

import csv
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.tiny_run import fit, last
from lightning.pytorch import Callback

from benchmarks.soak.comparison import differences
from benchmarks.soak.mixed import FAULTS
from benchmarks.soak.trace import Trace
from benchmarks.soak.training import step_of
from benchmarks.soak.watching import FOLDER_VARIABLE, seen


def state() -> dict[str, Any]:
    return {
        "state_dict": {"a": torch.full((400,), 1.0), "n": torch.tensor(float("nan"))},
        "current_model_state": {"a": torch.full((400,), 2.0, dtype=torch.bfloat16)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}}],
        "lr_schedulers": [{"last_epoch": 3}],
        "samft": {"history": [{"val/iou": float("nan")}]},
        "callbacks": {"Saving": {"trained_seconds": 1.0}, "TrainingTime": {"seconds": 2.0}},
        "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 2}}}},
        "global_step": 3,
        "hyper_parameters": {},
        "pytorch-lightning_version": "2.6.6",
    }


def write(run: Path, *, change: Callable[[dict], None] = lambda _: None, names=("last", "best")):
    (run / "checkpoints").mkdir(parents=True)
    for name in ("last", "best"):
        content = state()
        content["callbacks"]["Best"] = {
            "dirpath": str(run / "checkpoints"),
            "best_k_models": {str(run / "checkpoints" / "best.ckpt"): torch.tensor(0.5)},
        }
        if name in names:
            change(content)
        torch.save(content, run / "checkpoints" / f"{name}.ckpt")
    with (run / "metrics.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerows([["step", "val/iou", "speed/images_per_s"], [3, 0.5, random.random()]])
    return run


def replace(*path: object, value: object) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        place: Any = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


CHANGES = [
    (replace("state_dict", "a", value=torch.full((400,), 1 + 2**-23)), "state_dict"),
    (replace("state_dict", "a", value=torch.full((20, 20), 1.0)), "state_dict"),
    (replace("state_dict", "more", value=torch.ones(())), "state_dict"),
    (replace("samft", "more", value=None), "samft"),
    (
        replace("current_model_state", "a", value=torch.full((400,), 2.0)),
        "current_model_state",
    ),
    (
        replace("optimizer_states", 0, "state", 0, "step", value=torch.tensor(4.0)),
        "optimizer_states",
    ),
    (replace("samft", "history", value=[]), "samft"),
    (replace("callbacks", "Best", "best_k_models", value={}), "callbacks"),
    (
        replace("loops", "fit_loop", "epoch_progress", "current", "completed", value=3),
        "loops",
    ),
]


@pytest.mark.parametrize(("change", "part"), CHANGES)
@pytest.mark.parametrize("name", ["last", "best"])
def test_results_are_compared_bit_by_bit(tmp_path: Path, change, part: str, name: str) -> None:
    one = write(tmp_path / "one")
    other = write(tmp_path / "other", change=change, names=(name,))
    assert differences(one, other) == [f"checkpoints/{name}.ckpt {part}"]


def test_times_places_and_speed_do_not_count(tmp_path: Path) -> None:
    def later(content: dict) -> None:
        content["callbacks"]["Saving"]["trained_seconds"] = 9.0
        content["callbacks"]["TrainingTime"]["seconds"] = 9.0

    one, other = write(tmp_path / "one"), write(tmp_path / "other", change=later)
    assert differences(one, other) == []
    table = other / "metrics.csv"
    table.write_text(table.read_text().replace("3,0.5,", "3,0.6,"))
    assert differences(one, other) == ["metrics.csv"]


class Struck:
    """A process, asked as a `Launch` is."""

    def __init__(self) -> None:
        sleep = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
        self.process = subprocess.Popen(sleep)
        self.send_signal = self.process.send_signal

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def test_faults_end_the_process_and_damage_the_checkpoint(tmp_path: Path) -> None:
    for number, (name, strike) in enumerate(FAULTS.items()):
        run = write(tmp_path / str(number))
        assert step_of(run) == 3
        victim = Struck()
        strike(victim, run, random.Random(number))
        expected = -signal.SIGTERM if name == "SIGTERM" else -signal.SIGKILL
        assert victim.process.wait(timeout=20) == expected
        assert step_of(run) == (3 if name.startswith("SIG") else None), name


class Watch(Callback):
    """Reads, where others would, what the training says; comes after `Trace`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: list[tuple[int, int, str]] = []

    def look(self, *_: object) -> None:
        now = seen(self.folder)
        if now is not None:
            self.found.append((now.batch, now.step, now.phase))

    on_train_batch_start = on_train_batch_end = on_validation_batch_start = look
    on_save_checkpoint = look


def test_a_training_says_where_it_is_and_is_no_other_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(tmp_path / "plain", max_epochs=2, accumulate_grad_batches=3)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    watch = Watch(tmp_path)
    fit(tmp_path / "told", Trace(), watch, max_epochs=2, accumulate_grad_batches=3)
    assert (1, 0, "step") in watch.found
    assert (3, 1, "between") in watch.found
    assert (4, 2, "validation") in watch.found
    assert (5, 2, "step") in watch.found
    assert "saving" in {phase for _, _, phase in watch.found}
    assert seen(tmp_path).phase == "over"
    one, other = (torch.load(last(tmp_path / name)) for name in ("plain", "told"))
    assert all(torch.equal(one["state_dict"][k], v) for k, v in other["state_dict"].items())
