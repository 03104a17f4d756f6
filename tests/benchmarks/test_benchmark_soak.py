"""The soak test sees what it is to see: damage, and results that differ."""

import random
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.soak import FAULTS, differences, step_of


def write(run: Path, *, weight: float = 1.0) -> Path:
    state = {
        "state_dict": {"a": torch.full((400,), weight)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}}],
        "lr_schedulers": [{"last_epoch": 3}],
        "samft": {"history": [{"val/iou": float("nan")}]},
        "global_step": 3,
        "hyper_parameters": {},
        "pytorch-lightning_version": "2.6.6",
    }
    (run / "checkpoints").mkdir(parents=True)
    for name in ("last", "best"):
        torch.save(state, run / "checkpoints" / f"{name}.ckpt")
    return run


def test_results_are_compared_bit_by_bit(tmp_path: Path) -> None:
    one, same = write(tmp_path / "one"), write(tmp_path / "same")
    assert differences(one, same) == []
    other = write(tmp_path / "other", weight=1.0 + 2**-23)
    assert differences(one, other) == ["state_dict"]


def test_faults_end_the_process_and_damage_the_checkpoint(tmp_path: Path) -> None:
    for number, (name, strike) in enumerate(FAULTS.items()):
        run = write(tmp_path / str(number))
        assert step_of(run) == 3
        process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        strike(process, run, random.Random(number))
        assert process.wait(timeout=20) != 0
        assert step_of(run) == (3 if name.startswith("SIG") else None), name
