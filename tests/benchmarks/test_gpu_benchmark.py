"""The GPU benchmark: its rows in their order, kept one by one, limited, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

import benchmarks.gpu.__main__ as gpu
from benchmarks.gpu.cases import ARCHITECTURES, DRY, WAYS, GpuCase, plan
from benchmarks.gpu.clock import StepClock
from benchmarks.gpu.rows import RowFile
from benchmarks.gpu.setup import Setup
from samft.models.adaptation.presets import PRESETS

SETUP = Setup(
    size=64, objects=2, device="cpu", precision="32-true", warm_up=2, steps=6, seconds=60.0
)
FACTS = {"machine": "a card", "size": 64}


class FakeWorker:
    """Answers at once, and remembers what was begun."""

    answers: ClassVar[dict[str, object]] = {}
    begun: ClassVar[list[str]] = []
    ended: ClassVar[list[str]] = []

    def __init__(self, case: GpuCase, setup: Setup, *, task: str) -> None:
        self.case, self.task = case, task
        FakeWorker.begun.append(case.name)

    def run(self, seconds: float):
        FakeWorker.answers.setdefault("seconds", seconds)
        return FakeWorker.answers.get(self.case.name, {"steps_per_s": 2.0, "peak_mb": 1.0})

    def end(self) -> None:
        FakeWorker.ended.append(self.case.name)


@pytest.fixture(autouse=True)
def fake_worker(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    FakeWorker.answers, FakeWorker.begun, FakeWorker.ended = {}, [], []
    monkeypatch.setattr(gpu, "Worker", FakeWorker)
    return FakeWorker


def measure(path: Path, *given: str) -> list[str]:
    gpu.main(["--device", "cpu", "--size", "64", "--arch", "vit_dry", "--out", str(path), *given])
    return FakeWorker.begun


def test_every_way_of_both_programs_is_there_once() -> None:
    cases = plan(ARCHITECTURES, [1, 4])
    assert len({case.name for case in cases}) == len(cases)
    assert all(GpuCase.of(case.name) == case for case in cases)
    for arch in ARCHITECTURES:
        own = [case for case in cases if case.arch == arch and case.images == 4]
        ours = {(case.method, case.way) for case in own if case.program == "samft"}
        theirs = {(case.method, case.way) for case in own if case.program == "transformers"}
        methods = set(PRESETS) - {"late"}
        assert {way for _, way in ours} == set(WAYS)
        for way in ("plain", "sharded", "compile"):
            assert methods <= {method for method, other in ours if other == way}
        assert {(m, "checkpointing") for m in methods - {"frozen"}} <= ours
        assert ours - theirs == {
            ("cached", "plain"), ("full", "non_finite"),
            *((method, "sharded") for method in methods),
        }  # fmt: skip


def test_what_tells_most_comes_first() -> None:
    cases = plan(["vit_b", "vit_l"], [1, 4])
    assert [case.name for case in cases[:6]] == [
        "samft:vit_b:1:lora:box:plain", "transformers:vit_b:1:lora:box:plain",
        "samft:vit_l:1:lora:box:plain", "transformers:vit_l:1:lora:box:plain",
        "samft:vit_b:1:full:box:plain", "transformers:vit_b:1:full:box:plain",
    ]  # fmt: skip
    # Every way of running comes before the second batch size, and that before all combinations.
    names = [case.name for case in cases]
    begins = names.index("samft:vit_b:4:lora:box:plain")
    assert {case.way for case in cases[:begins]} == set(WAYS)
    assert {case.images for case in cases[:begins]} == {1}
    assert begins < names.index("samft:vit_b:1:late_lora:box:compile")


def test_a_peer_without_the_architecture_has_no_rows() -> None:
    assert {case.program for case in plan(["vit_nano"], [1])} == {"samft"}
    assert {case.program for case in plan([DRY.name], [1])} == {"samft", "transformers"}


def test_rows_are_written_one_by_one_and_never_measured_twice(tmp_path: Path, capsys) -> None:
    path = tmp_path / "rows.jsonl"
    names = ["samft:vit_dry:1:lora:box:plain", "transformers:vit_dry:1:lora:box:plain"]
    FakeWorker.answers[names[1]] = {"failed": "a bug"}
    given = ["--images", "1", "--only", ":lora:box:plain"]
    assert measure(path, *given)[:2] == names
    first, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert first["setup"]["size"] == 64
    assert [line["name"] for line in lines] == names
    FakeWorker.begun.clear()
    assert measure(path, *given) == []
    assert measure(path, *given, "--again") == names[1:]
    FakeWorker.answers.clear()
    measure(path, *given, "--again")
    assert "failed" not in RowFile(path).rows[names[1]]
    assert "a bug" in capsys.readouterr().out


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = RowFile(path, FACTS)
    rows.add("a:b:1:lora:box:plain", {"steps_per_s": 1.0})
    with path.open("a") as file:
        file.write('{"name": "c:d:1:lo')  # half a line
    again = RowFile(path, FACTS)
    assert list(again.rows) == ["a:b:1:lora:box:plain"]
    again.add("c:d:1:lora:box:plain", {"steps_per_s": 2.0})
    assert [row["steps_per_s"] for row in RowFile(path).rows.values()] == [1.0, 2.0]


def test_rows_of_another_setup_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    RowFile(path, FACTS).add("x", {"steps_per_s": 1.0})
    with pytest.raises(SystemExit, match=r"rows\.jsonl holds results of another setup: machine "):
        RowFile(path, FACTS | {"machine": "another"})
    (tmp_path / "other.json").write_text("[1]\n")
    with pytest.raises(SystemExit, match=r"other\.json: no results of this benchmark"):
        RowFile(tmp_path / "other.json")
    with pytest.raises(SystemExit, match="no such file"):
        RowFile(tmp_path / "none.jsonl")


def test_what_there_is_no_time_for_is_left_out_and_said(tmp_path: Path, capsys) -> None:
    path = tmp_path / "rows.jsonl"
    given = ["--images", "1", "--only", ":lora:box:plain"]
    assert measure(path, *given, "--minutes", "0.1") == []
    said = capsys.readouterr().out
    assert "No time was left for 2 rows: samft:vit_dry:1:lora:box:plain, " in said
    assert not path.exists()


def test_a_row_that_is_cut_off_by_the_end_is_measured_again(tmp_path: Path, capsys) -> None:
    path = tmp_path / "rows.jsonl"
    name = "samft:vit_dry:1:full:box:plain"
    FakeWorker.answers[name] = None  # took too long
    measure(path, "--only", name, "--images", "1", "--minutes", "1", "--row-seconds", "100")
    assert FakeWorker.answers["seconds"] == pytest.approx(60, abs=5)
    assert not path.exists()
    assert f"No time was left for 1 rows: {name}" in capsys.readouterr().out
    # With time left it is the row that is at fault.
    measure(path, "--only", name, "--images", "1", "--row-seconds", "100")
    assert RowFile(path).rows[name]["failed"] == "no end after 100 s"


def test_the_next_process_is_started_ahead_and_ended_if_it_is_not_needed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    FakeWorker.answers["samft:vit_dry:1:lora:box:plain"] = None
    given = ["--only", ":lora:box:plain", "--images", "1", "--ahead"]
    begun = measure(path, *given, "--minutes", "1")
    assert begun == [
        "samft:vit_dry:1:lora:box:plain",
        "transformers:vit_dry:1:lora:box:plain",
    ]
    assert FakeWorker.ended == begun[1:]


def test_estimates_are_added_to_what_was_measured(tmp_path: Path, capsys) -> None:
    path = tmp_path / "rows.jsonl"
    given = ["--images", "1", "--only", ":lora:box:plain", ":decoder:box"]
    measure(path, *given)
    FakeWorker.begun.clear()
    name = "samft:vit_dry:1:lora:box:plain"
    FakeWorker.answers[name] = {"estimated_mb": 512.0}
    assert measure(path, *given, "--estimate") == [name]  # neither the peer's nor the decoder's
    row = RowFile(path).rows[name]
    assert (row["estimated_mb"], row["steps_per_s"]) == (512.0, 2.0)
    assert measure(path, *given, "--estimate") == [name]  # not once more


def test_options_that_make_no_sense(capsys) -> None:
    for given, message in (
        (["--device", "cpu", "--warm-up", "1"], "--warm-up must be 2 or more"),
        (["--device", "cpu", "--images", "0"], "--images 1 or more"),
        (["--estimate"], "--estimate needs the results of --out"),
    ):
        with pytest.raises(SystemExit):
            gpu.parse(given)
        assert message in capsys.readouterr().err


def test_the_clock_leaves_the_warm_up_out_and_takes_blocks() -> None:
    # Two steps to warm up of 9 and 1 seconds, six steps of 2 seconds each, in three blocks.
    now = [0.0]
    clock = StepClock(SETUP, timer=lambda: now[0])
    clock.begin()
    done = []
    for seconds in (9.0, 1.0, *[2.0] * 6):
        now[0] += seconds
        done.append(clock.step_done())
    assert done == [*[False] * 7, True]
    found = clock.found()
    assert found["steps_per_s"] == 0.5
    assert found["step_seconds"] == [2.0] * 3
    assert found["first_seconds"] == 9.0
    assert found["compile_seconds"] == 10 - 2 * 2.0
    assert found["steps"] == 6 == clock.most_steps - SETUP.warm_up


def test_slow_steps_are_fewer() -> None:
    now = [0.0]
    clock = StepClock(SETUP, timer=lambda: now[0])
    clock.begin()
    steps = 0
    done = False
    while not done:
        now[0] += 30.0
        steps += 1
        done = clock.step_done()
    assert steps == SETUP.warm_up + 3
