"""Kills come exactly as often as asked, while it trains, and no process stays behind."""

import os
import random
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import soak_play

from benchmarks.soak import kills, training
from benchmarks.soak.__main__ import main, table
from benchmarks.soak.kills import HEADER, Kill, Moment, Result, moments, row, struck
from benchmarks.soak.launch import Launch
from benchmarks.soak.settings import EPOCHS, SETTINGS, Setting
from benchmarks.soak.training import Training
from benchmarks.soak.watching import seen

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
PLAYED = Setting(name="played", batches=soak_play.EPOCH)


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(training, "Launch", partial(Launch, command=soak_play.play))
    monkeypatch.setattr(
        kills, "step_of", lambda run: soak_play._saved(run / "checkpoints" / "last.ckpt") or None
    )
    return Training(tmp_path / "struck", PLAYED, seed=0)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_moments_are_as_many_as_asked_and_spread(setting: Setting) -> None:
    drawn = moments(setting, 20, random.Random(5))
    assert drawn == moments(setting, 20, random.Random(5))
    assert len(drawn) == 20
    assert drawn[0].batch == 1
    assert drawn[0].phase == "step"
    batches = [moment.batch for moment in drawn]
    assert batches == sorted(batches)
    assert max(batches) < setting.total_batches
    assert len(set(batches)) >= 8
    assert {moment.phase for moment in drawn} == {"step", "saving", "validation"}
    for moment in drawn:
        if moment.phase == "validation":
            assert moment.batch % setting.batches == 0
            assert moment.batch < EPOCHS * setting.batches
    ranks = {moment.rank for moment in drawn}
    assert ranks == ({None, 0, 1} if setting.ranks == 2 else {None})


def test_every_setting_is_another_training() -> None:
    ways = [(setting.config(), setting.processes) for setting in SETTINGS.values()]
    assert all(one != other for i, one in enumerate(ways) for other in ways[:i])
    assert SETTINGS["accumulation"].config()["trainer"]["accumulate_grad_batches"] > 1
    averaged = SETTINGS["DDP + 2 workers + EMA"].config()
    assert [c["class_path"].split(".")[-1] for c in averaged["trainer"]["callbacks"]] == [
        "EMAWeightAveraging",
        "Trace",
    ]
    assert averaged["data"]["init_args"]["num_workers"] == 2


@linux
def test_exactly_so_many_kills_and_it_comes_to_its_end(played: Training) -> None:
    when = [
        Moment(1, "step", 0.0),
        Moment(soak_play.SLOW, "saving", 0.0),
        Moment(10, "validation", 0.0),
        Moment(20, "step", 0.01),
    ]
    done, runs = struck(played, when)
    assert [kill.phase for kill in done][2] == "validation"
    assert done[0].saved is None
    assert done[1].half_written
    assert not done[2].half_written
    assert all(later.step >= moment.batch for later, moment in zip(done, when, strict=True))
    assert runs == [played.run]
    assert (played.checkpoints / "last.ckpt").read_text() == "40"


@linux
def test_what_comes_too_late_is_not_counted_and_comes_earlier(played: Training) -> None:
    done, runs = struck(played, [Moment(38, "step", 2.0)])
    assert len(done) == 1
    assert 19 <= done[0].step < 38
    assert len(runs) == 2
    assert [(run / "checkpoints" / "last.ckpt").read_text() for run in runs] == ["40", "40"]


@linux
def test_a_training_that_is_never_struck_is_an_error(
    played: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kills, "_MOST_TRAININGS", 1)
    with pytest.raises(RuntimeError, match="1 trainings were over before they were struck"):
        struck(played, [Moment(38, "step", 2.0)])


@linux
def test_a_training_that_fails_shows_its_log(tmp_path: Path) -> None:
    broken = replace(SETTINGS["plain"], trainer={"max_epochs": "soon"})
    failing = Training(tmp_path, broken, seed=0)
    launch = Launch(["nonsense"], ranks=1, forked=False, folder=tmp_path)
    with pytest.raises(RuntimeError, match=r"exit code 2 after[\s\S]*nonsense"):
        failing.finish(launch)


@linux
def test_a_killed_launch_leaves_nobody(tmp_path: Path) -> None:
    command = soak_play.with_a_child
    launch = Launch([str(tmp_path)], ranks=2, forked=True, folder=tmp_path, command=command)
    numbers = [tmp_path / "child_0", tmp_path / "child_1"]
    deadline = time.monotonic() + 60
    while not all(path.exists() and path.read_text() for path in numbers):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    children = [int(path.read_text()) for path in numbers]
    assert set(children) < set(launch.left())
    launch.kill()
    assert launch.wait(20) == -signal.SIGKILL
    assert launch.left() == []
    assert not any(map(alive, children))


@linux
def test_when_one_process_dies_the_others_are_told_to_end(tmp_path: Path) -> None:
    launch = Launch([], ranks=2, forked=True, folder=tmp_path, command=soak_play.one_dies)
    assert launch.wait(60) in (7, -signal.SIGTERM)
    assert launch.left() == []
    hanging = Launch(
        [str(tmp_path)],
        ranks=1,
        forked=True,
        folder=tmp_path / "hangs",
        command=soak_play.with_a_child,
    )
    with pytest.raises(TimeoutError, match="log.txt"):
        hanging.wait(0.5)
    assert hanging.left() == []


def test_a_trace_that_is_not_there_yet(tmp_path: Path) -> None:
    assert seen(tmp_path) is None
    (tmp_path / "0").touch()
    assert seen(tmp_path) is None
    (tmp_path / "0").write_text("12 30 15 saving     ")
    assert seen(tmp_path).step == 15


def result(*apart: str) -> Result:
    done = (
        Kill(0, "step", None, half_written=False),
        Kill(5, "between", 4, half_written=True, rank=1),
        Kill(8, "validation", 6, half_written=False),
    )
    return Result(SETTINGS["DDP by torchrun"], done, apart, 60.0)


def test_the_row_of_a_setting() -> None:
    cells = [cell.strip() for cell in row(result()).strip("|").split("|")]
    names = [cell.strip() for cell in HEADER.splitlines()[0].strip("|").split("|")]
    assert dict(zip(names, cells, strict=True)) == {
        "setting": "DDP by torchrun",
        "processes": "torchrun, 2 new",
        "SIGKILL": "3",
        "at optimiser step": "0, 5wr1, 8v",
        "while writing a checkpoint": "1",
        "in a validation": "1",
        "before the first checkpoint": "1",
        "one process of several": "1",
        "steps done again": "3",
        "bit-equal at the end": "yes",
    }
    assert row(result("last.ckpt state_dict")).endswith("| no: last.ckpt state_dict |")


def test_a_difference_is_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = iter([result(), result("metrics.csv")])
    monkeypatch.setattr("benchmarks.soak.__main__.compare", lambda *_, **__: next(found))
    assert table(tmp_path, names=["plain", "DDP"], kills=3, seed=0) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(HEADER)
    assert printed.count("| DDP by torchrun |") == 2
    for wrong in (["--kills", "0"], [], ["--kills", "2", "--settings", "EMMA"]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert os.environ.get("RANK") is None
