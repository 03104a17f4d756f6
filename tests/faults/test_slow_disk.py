"""Checkpoints on a slow disk: late, but never half, and a time limit knows how long they take."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from faults import slow_disk
from faults.test_saving import assert_same_end
from faults.tiny_run import BATCHES, fit, last
from lightning.pytorch import Callback

from samft import safe_checkpoint
from samft.callbacks import saving
from samft.callbacks.saving import Saving
from samft.callbacks.stopping import TrainingStopped
from samft.cli.resuming.stopped_run import find_stopped_run
from samft.runs import FIT_CONFIG
from samft.safe_checkpoint import check_archive


def test_killed_while_a_slow_disk_writes(tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    fit(whole)
    process = subprocess.Popen(
        [sys.executable, slow_disk.__file__, str(run)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "waiting\n" in iter(process.stdout.readline, "")
    process.kill()
    process.wait()
    half = last(run).with_name(".last.ckpt.part")
    assert 0 < half.stat().st_size < last(run).stat().st_size
    check_archive(last(run))
    (run / FIT_CONFIG).touch()
    found = find_stopped_run(run)
    assert (found.checkpoint, found.step) == (last(run), slow_disk.SAVED)
    fit(run, checkpoint=found.checkpoint)
    assert not half.exists()
    assert_same_end(run, whole)


class Clock(Callback):
    """Time that passes only in steps and in writing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, write: float) -> None:
        self.now, self.write = 0.0, write
        fsync = safe_checkpoint.os.fsync

        def slowly(number: int) -> None:
            self.now += self.write / 2  # the file, and its folder
            fsync(number)

        monkeypatch.setattr(saving.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(safe_checkpoint.os, "fsync", slowly)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.now += 1


@pytest.mark.parametrize("write", [0.0, 30.0])
def test_a_time_limit_leaves_room_for_the_last_checkpoint(
    tmp_path: Path, write: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, write=write)
    limited = Saving(every_minutes=0, stop_after="00:01:40")
    with pytest.raises(TrainingStopped) as stopped:
        fit(tmp_path, clock, limited, max_epochs=100)
    assert stopped.value.code == 0
    assert clock.now <= 100
    # Another step or save would not have fitted in.
    assert clock.now + 2 * (1 + write) >= 100
    state = torch.load(last(tmp_path), weights_only=True)
    assert state["global_step"] > BATCHES


def test_a_slow_disk_is_not_asked_before_every_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {}
    for write in (0.0, 30.0):
        with monkeypatch.context() as patch:
            clock = Clock(patch, write=write)
            saves = []
            save = Saving._save
            patch.setattr(Saving, "_save", lambda *args, s=save, k=saves: (k.append(0), s(*args)))
            fit(tmp_path / f"{write:g}", clock, Saving(every_minutes=0), max_epochs=4)
        counts[write] = len(saves)
    # After each of four epochs; before a validation only where it costs next to nothing.
    assert counts == {0.0: 8, 30.0: 5}
    assert_same_end(tmp_path / "0", tmp_path / "30")
