"""last.ckpt: complete at every moment it is written, kept by a full disk, written when asked."""

import errno
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from faults.tiny_run import BATCHES, TinyModule, fit, last
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch.utils import _pytree as pytree

from samft.callbacks import saving
from samft.callbacks.checkpoint_files import BestCheckpoint
from samft.callbacks.metrics_log import Resumed
from samft.callbacks.saving import Saving
from samft.callbacks.stopping import Stop, TrainingStopped, parse_duration
from samft.cli.resuming.stopped_run import _opened
from samft.errors import ConfigError, MachineError


class Copies(Saving):
    """Saves whenever it may, and keeps every checkpoint."""

    def __init__(self, folder: Path) -> None:
        super().__init__(every_n_steps=1)
        self.folder = folder
        self.copies: list[Path] = []

    def _save(self, trainer) -> None:
        super()._save(trainer)
        self._cost = 0.0  # so that one before each validation is not too dear
        kind = "before_validation" if self._validating else "step"
        self.copies.append(self.folder / f"{len(self.copies):02d}_{kind}.ckpt")
        shutil.copy(self.path, self.copies[-1])


class Send(Callback):
    """Sends signals to this process in a step."""

    def __init__(self, *signals: signal.Signals, step: int = 2) -> None:
        self.signals = signals
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.fit_loop.total_batch_idx + 1 == self.step:
            for number in self.signals:
                os.kill(os.getpid(), number)
                time.sleep(0.01)  # Python handles one between two instructions


def assert_same_end(one: Path, other: Path) -> None:
    """Compare weights, optimiser, schedule, averages and history of two runs, bit by bit."""
    ends = [torch.load(last(folder), weights_only=True) for folder in (one, other)]
    keys = ["state_dict", "optimizer_states", "lr_schedulers", "history", "global_step"]
    for key in keys + ["current_model_state"] * ("current_model_state" in ends[1]):
        first, second = (pytree.tree_flatten(end[key])[0] for end in ends)
        assert len(first) == len(second), key
        for a, b in zip(first, second, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, key


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate_grad_batches": 3},
        {"max_epochs": -1, "max_steps": 6},
        {"val_check_interval": 2},
        {"check_val_every_n_epoch": 2},
        {"limit_val_batches": 0},
    ],
    ids=lambda settings: "_".join(settings) or "plain",
)
@pytest.mark.parametrize("ema", [False, True], ids=["", "ema"])
def test_every_checkpoint_leads_to_the_same_end(tmp_path: Path, settings: dict, ema: bool) -> None:
    def average() -> list[Callback]:
        return [EMAWeightAveraging(decay=0.8)] if ema else []

    whole = tmp_path / "whole"
    keep = Copies(tmp_path)
    fit(whole, keep, *average(), **settings)
    assert len(keep.copies) >= 6
    validates = settings.get("limit_val_batches") != 0
    assert any("before_validation" in copy.stem for copy in keep.copies) == validates
    for copy in keep.copies[:-1]:
        folder = tmp_path / copy.stem
        folder.mkdir()
        shutil.copy(whole / "metrics.csv", folder)
        at = _opened(folder, copy)
        resumed = Resumed(steps=at.step, validates=at.validates)
        fit(folder, *average(), checkpoint=copy, resumed=resumed, **settings)
        assert_same_end(folder, whole)
        assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


class KilledError(Exception):
    """The end of a process."""


class DieWhenSaved(Saving):
    """Dies when a step has been saved, before anything else happens."""

    def __init__(self, step: int) -> None:
        super().__init__(every_n_steps=1)
        self.step = step

    def _save(self, trainer) -> None:
        super()._save(trainer)
        if trainer.global_step == self.step:
            raise KilledError


@pytest.mark.parametrize("step", [2, BATCHES, BATCHES + 1])
@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 3}], ids=["", "accumulated"])
def test_what_a_step_logged_is_saved_with_it(tmp_path: Path, settings: dict, step: int) -> None:
    fit(tmp_path / "whole", **settings)
    with pytest.raises(KilledError):
        fit(tmp_path / "run", DieWhenSaved(step), **settings)
    at = _opened(tmp_path / "run", last(tmp_path / "run"))
    assert at.step == step
    resumed = Resumed(steps=at.step, validates=at.validates)
    fit(tmp_path / "run", checkpoint=last(tmp_path / "run"), resumed=resumed, **settings)
    tables = [(tmp_path / name / "metrics.csv").read_text() for name in ("run", "whole")]
    assert sorted(tables[0].splitlines()) == sorted(tables[1].splitlines())
    assert_same_end(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("settings", [{}, {"val_check_interval": 2}], ids=["", "twice"])
def test_after_a_validation_done_again_every_checkpoint_is_the_same(
    tmp_path: Path, settings: dict
) -> None:
    keep, again = Copies(tmp_path / "first"), Copies(tmp_path / "again")
    for folder in (keep.folder, again.folder):
        folder.mkdir()
    fit(tmp_path / "whole", keep, **settings)
    waiting = [copy for copy in keep.copies if "before_validation" in copy.stem]
    fit(tmp_path / "run", again, checkpoint=waiting[1], **settings)
    later = keep.copies[keep.copies.index(waiting[1]) :]
    assert len(again.copies) == len(later) >= 6
    for one, other in zip(again.copies, later, strict=True):
        loops = [torch.load(copy, weights_only=True)["loops"] for copy in (one, other)]
        assert loops[0] == loops[1], other.stem
        for copy in (one, other):
            opened = _opened(tmp_path / "run", copy)
            assert opened.validates == ("before_validation" in copy.stem), copy


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 0)],
)
def test_a_signal_saves_after_the_step(
    tmp_path: Path, number: signal.Signals, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(number)
    fit(tmp_path / "whole")
    with pytest.raises(TrainingStopped) as stopped:
        fit(tmp_path / "run", Send(number), Saving(every_minutes=0))
    assert stopped.value.code == code
    assert signal.getsignal(number) == before
    assert torch.load(last(tmp_path / "run"), weights_only=True)["global_step"] == 2
    assert f"after step 2; the state of step 2 is in {last(tmp_path / 'run')}" in caplog.text
    assert f"samft resume {tmp_path / 'run'}" in caplog.text
    fit(tmp_path / "run", checkpoint=last(tmp_path / "run"))
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_a_signal_waits_for_gathered_gradients(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        fit(tmp_path, Send(signal.SIGTERM, step=1), accumulate_grad_batches=2)
    state = torch.load(last(tmp_path), weights_only=True)
    assert state["global_step"] == 1
    assert state["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] == 2


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    # A shell that starts something in the background lets it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(TrainingStopped) as stopped:
        fit(tmp_path, Send(signal.SIGINT, signal.SIGINT))
    assert stopped.value.code == 130
    assert not last(tmp_path).exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class SendInValidation(Callback):
    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 1 and not pl_module.history:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)


def test_a_signal_leaves_a_validation_which_is_done_again(tmp_path: Path) -> None:
    fit(tmp_path / "whole")
    with pytest.raises(TrainingStopped) as stopped:
        fit(tmp_path / "run", SendInValidation())
    assert stopped.value.stop is Stop.TERMINATED
    at = _opened(tmp_path / "run", last(tmp_path / "run"))
    assert (at.step, at.validates) == (BATCHES, True)
    fit(tmp_path / "run", checkpoint=last(tmp_path / "run"))
    assert_same_end(tmp_path / "run", tmp_path / "whole")


def test_time_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(saving.time, "monotonic", lambda: float(next(clock)))
    for name, settings in (
        ("stop_after", {}),
        ("max_time", {"max_time": "00:00:00:30"}),
    ):
        stop_after = "00:00:30" if name == "stop_after" else None
        with pytest.raises(TrainingStopped) as stopped:
            fit(tmp_path / name, Saving(stop_after=stop_after), max_epochs=50, **settings)
        assert stopped.value.code == 0
        state = torch.load(last(tmp_path / name), weights_only=True)
        assert 0 < state["global_step"] < 30
        kept = state["callbacks"]["Saving"]["trained_seconds"]
    # The training time counts over processes: there is next to none left.
    with pytest.raises(TrainingStopped):
        fit(tmp_path / "max_time", checkpoint=last(tmp_path / "max_time"), **settings)
    after = torch.load(last(tmp_path / "max_time"), weights_only=True)
    assert after["callbacks"]["Saving"]["trained_seconds"] > kept - 1
    assert after["global_step"] <= state["global_step"] + 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:00:01", 1), ("11:30:00", 41400), ("2-01:00:00", 176400)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text, where="x") == seconds


@pytest.mark.parametrize("text", ["10", "1:2", "00:00:00", "ten", "1:00:0"])
def test_a_wrong_duration_is_explained(text: str) -> None:
    with pytest.raises(ConfigError, match="no length of time") as caught:
        Saving(stop_after=text)
    assert "saving.stop_after" in str(caught.value)
    assert "11:30:00" in str(caught.value)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_failures at least 1"):
        Saving(max_failures=0)


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


class FillDisk(Callback):
    """A disk that is full from one step on, to another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int, until: int) -> None:
        self.patch, self.first, self.until = monkeypatch, first, until

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_step == self.first:
            self.patch.setattr("samft.safe_checkpoint.os.fsync", full_disk)
        if trainer.global_step == self.until:
            self.patch.undo()


def test_a_full_disk_keeps_the_last_good_one_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fit(tmp_path / "whole", max_epochs=3)
    disk = FillDisk(monkeypatch, 4, 9)
    saved = Saving(every_minutes=0, max_failures=5)
    model, _ = fit(tmp_path / "run", disk, saved, max_epochs=3)
    assert "No space left on device; the one before it is kept" in caplog.text
    assert model.history
    assert saved.saved_step == 12
    assert_same_end(tmp_path / "run", tmp_path / "whole")
    assert [path.name for path in last(tmp_path / "run").parent.iterdir()] == ["last.ckpt"]


def test_a_disk_that_stays_full_stops_the_run_with_the_good_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FillDisk(monkeypatch, 4, 999)
    with pytest.raises(MachineError, match="2 times in a row no checkpoint") as caught:
        fit(tmp_path, disk, Saving(every_minutes=0, every_n_steps=1, max_failures=2))
    assert "No space left on device" in str(caught.value)
    assert f"samft resume {tmp_path}" in str(caught.value)
    assert caught.value.exit_code == 3
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 4


def test_best_is_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = BestCheckpoint(
        filename="best", monitor="val/score", mode="max", enable_version_counter=False
    )
    model, _ = fit(tmp_path, FillDisk(monkeypatch, 5, 999), best, Saving(max_failures=99))
    assert max(model.history) > model.history[0]  # a later one was better, but not written
    assert float(best.best_model_score) == pytest.approx(model.history[0])
    stored = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert stored["global_step"] == BATCHES


def test_a_moved_run_still_knows_its_best(tmp_path: Path) -> None:
    def best() -> BestCheckpoint:
        return BestCheckpoint(
            filename="best", monitor="val/score", mode="max", enable_version_counter=False
        )

    fit(tmp_path / "old", best(), max_epochs=2)
    (tmp_path / "old").rename(tmp_path / "new")
    kept = best()
    state = torch.load(last(tmp_path / "new"), weights_only=True)
    fit(tmp_path / "new", kept, checkpoint=last(tmp_path / "new"), max_epochs=2)
    name = next(name for name in state["callbacks"] if name.startswith("BestCheckpoint"))
    assert kept.best_model_score == state["callbacks"][name]["best_model_score"]
    assert kept.current_score == state["callbacks"][name]["current_score"]
    assert Path(kept.best_model_path) == tmp_path / "new" / "checkpoints" / "best.ckpt"


def test_leftovers_go_and_fast_dev_run_writes_nothing(tmp_path: Path) -> None:
    half = last(tmp_path).with_name(".last.ckpt.part")
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    fit(tmp_path, module=TinyModule(), max_epochs=1)
    assert [path.name for path in half.parent.iterdir()] == ["last.ckpt"]
    fit(tmp_path / "dev", fast_dev_run=True)
    assert not last(tmp_path / "dev").exists()


def test_slurm_is_asked_for_another_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with pytest.raises(TrainingStopped):
        fit(tmp_path / "a", Send(signal.SIGUSR1), Saving(requeue=False))
    assert not calls.exists()
    with pytest.raises(TrainingStopped):
        fit(tmp_path / "b", Send(signal.SIGUSR1))
    assert calls.read_text() == "requeue 4711\n"
