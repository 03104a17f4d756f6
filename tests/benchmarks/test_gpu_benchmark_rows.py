"""Rows of the GPU benchmark as they are measured, here on a CPU, and the tables made of them."""

from __future__ import annotations

import io
import json
import sys
import warnings
from dataclasses import asdict, replace

import pytest
import torch

from benchmarks.gpu import ours, table, worker
from benchmarks.gpu.cases import GpuCase
from benchmarks.gpu.processes import Worker
from benchmarks.gpu.setup import Setup
from samft.callbacks.non_finite import NonFinite
from samft.errors import MachineError
from samft.planning.estimate import BASE, MemoryEstimate
from samft.planning.step import StepShape

SETUP = Setup(
    size=64, objects=2, device="cpu", precision="bf16-mixed", warm_up=2, steps=1, seconds=1.0
)
SETUP_TEXT = json.dumps(asdict(SETUP))


@pytest.fixture(autouse=True)
def memory_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "keep_freed_memory", lambda: False)
    monkeypatch.setenv("SAMFT_CACHE", "")  # restored after the test


def case(*parts: str, program: str = "samft") -> GpuCase:
    return GpuCase.of(":".join([program, "vit_dry", "1", *parts]))


def measured(chosen: GpuCase) -> dict:
    found = worker.work(worker.MEASURE, chosen, SETUP)
    json.dumps(found)
    assert found["steps_per_s"] > 0
    return found


@pytest.mark.parametrize("method", ["lora", "decoder"])
def test_both_programs_train_as_much(method: str) -> None:
    rows = [measured(case(method, "box", "plain", program=p)) for p in ("samft", "transformers")]
    assert rows[1]["trained"] == rows[0]["trained"]


@pytest.mark.parametrize("parts", [("full", "box", "checkpointing"), ("decoder", "paper", "plain")])
def test_rows_of_samft(parts: tuple[str, ...], monkeypatch) -> None:
    chosen = case(*parts)
    recomputed, passes = [], []
    monkeypatch.setattr(
        "samft.models.image_encoder.run_block",
        lambda block, x, *, again: recomputed.append(again) or block(x),
    )
    original = ours.SamModule.training_loss

    def loss(self, batch, **given):
        found = original(self, batch, **given)
        passes.append(self.prompt_settings.rounds + self.prompt_settings.extra_passes + 1)
        return found

    monkeypatch.setattr(ours.SamModule, "training_loss", loss)
    measured(chosen)
    assert set(passes) == {11 if chosen.prompts == "paper" else 1}
    assert len(passes) == SETUP.warm_up + SETUP.steps
    assert set(recomputed) == (
        {True} if chosen.way == "checkpointing" else set()
    )  # no encoder at all


def test_the_store_of_embeddings_is_read() -> None:
    row = measured(case("cached", "box", "plain"))
    assert row["computed"] == 1
    assert row["read"] == 20 + SETUP.steps - 1  # it decides before it is timed


def test_the_callback_is_there_where_it_is_measured() -> None:
    clock = ours.StepClock(SETUP)
    for way, count in (("plain", 0), ("non_finite", 1)):
        trainer = ours._trainer(case("full", "paper", way), SETUP, clock)
        assert sum(isinstance(each, NonFinite) for each in trainer.callbacks) == count
        assert trainer.precision == "bf16-mixed"


def test_compiling_and_sharding_are_asked_for() -> None:
    assert ours.build(case("lora", "box", "compile"), SETUP).hparams["compile_encoder"]
    assert not ours.build(case("lora", "box", "plain"), SETUP).hparams["compile_encoder"]
    trainer = ours._trainer(case("lora", "box", "sharded"), SETUP, ours.StepClock(SETUP))
    assert isinstance(trainer.strategy, ours.ShardedStrategy)


def test_the_estimate_is_that_of_the_same_step(monkeypatch) -> None:
    asked = []

    def estimate(module, shape, *, base: int) -> MemoryEstimate:
        asked.append((module.adapted.settings.preset, shape))
        return MemoryEstimate({"weights": 3 * 2**20, BASE: base + 2**20})

    monkeypatch.setattr(ours, "estimate_memory", estimate)
    chosen = replace(case("late_lora", "box", "checkpointing"), images=4)
    for device, megabytes in (("cuda", 3.0), ("cpu", 4.0)):
        found = worker.work(worker.ESTIMATE, chosen, replace(SETUP, device=device))
        assert found == {"estimated_mb": megabytes}
        shape = StepShape(images=4, objects=8, precision="bf16-mixed", device_type=device)
        assert asked.pop() == ("late_lora", shape)


def test_what_the_planner_does_not_know_has_no_estimate() -> None:
    chosen = case("full", "paper", "sharded")
    assert ours.can_estimate(chosen)
    assert not ours.can_estimate(case("lora", "box", "compile"))
    assert not ours.can_estimate(case("decoder", "box", "plain"))
    assert not ours.can_estimate(replace(chosen, program="transformers"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_running_out_of_memory_is_a_row(wrapped: bool, monkeypatch) -> None:
    def fail(*_) -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except torch.OutOfMemoryError as error:
            if not wrapped:
                raise
            raise MachineError("out of memory, also with the smallest pieces") from error

    monkeypatch.setattr(worker.ours, "measure", fail)
    found = worker.work(worker.MEASURE, case("full", "box", "plain"), SETUP)
    assert found == {"out_of_memory": True}


def test_other_errors_are_not_taken_for_it(monkeypatch) -> None:
    def fail(*_) -> None:
        raise MachineError("the disk is full")

    monkeypatch.setattr(worker.ours, "measure", fail)
    with pytest.raises(MachineError, match="the disk is full"):
        worker.work(worker.MEASURE, case("full", "box", "plain"), SETUP)


STAND_IN = """
import json, os, signal, sys, time
name = sys.argv[2]
line = sys.stdin.readline()
if "full" in name:
    os.kill(os.getpid(), signal.SIGKILL)
if "late" in name:
    raise ValueError("what went wrong")
if "frozen" in name:
    time.sleep(60)
print("noise")
print(json.dumps({"line": line, "setup": json.loads(sys.argv[3]),
                  "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
                  "cache": os.environ["TORCHINDUCTOR_CACHE_DIR"]}))
"""


def test_a_process_tells_its_result_or_its_end(tmp_path, monkeypatch) -> None:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    def run(method: str, task: str = worker.MEASURE, seconds: float = 30.0):
        chosen = case(method, "box", "plain")
        return Worker(chosen, SETUP, task=task, module="stand_in").run(seconds)

    found = run("lora")
    assert found["line"] == "begin\n"
    assert found["setup"] == asdict(SETUP)
    assert found["gpu"] == "3"
    assert run("lora", worker.ESTIMATE)["gpu"] == ""
    assert run("lora")["cache"] != found["cache"]  # compiled anew, so that its time is known
    assert run("late_lora")["failed"].endswith("ValueError: what went wrong")
    assert "SIGKILL, as the system does when memory is short" in run("full")["failed"]
    assert run("frozen", seconds=0.5) is None


def test_the_worker_waits_for_the_word_and_prints_its_result(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("begin\n"))
    monkeypatch.setattr("logging.disable", lambda _: None)
    with warnings.catch_warnings():
        worker.main([worker.MEASURE, case("decoder", "box", "plain").name, SETUP_TEXT])
    assert sys.stdin.read() == ""
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps_per_s"] > 0


def row(speed: float, peak: float, **more: object) -> dict:
    blocks = [1 / speed, 1.1 / speed]
    found = {"steps_per_s": speed, "step_seconds": blocks, "peak_mb": 1024 * peak}
    return found | {"reserved_mb": 2048 * peak, "date": "2026-01-02T03:04:05+00:00", **more}


RESULTS = {
    "samft:vit_b:1:lora:box:plain": row(6.0, 2.0, estimated_mb=4096.0),
    "transformers:vit_b:1:lora:box:plain": row(3.0, 8.0),
    "samft:vit_b:1:lora:box:compile": row(9.0, 2.0, compile_seconds=41.2),
    "transformers:vit_b:1:lora:box:compile": {"failed": "no compiler"},
    "samft:vit_h:4:full:box:plain": {"out_of_memory": True, "peak_mb": 70 * 1024.0},
    "samft:vit_b:1:full:paper:plain": row(2.0, 4.0),
    "samft:vit_b:1:full:paper:non_finite": row(1.9, 4.0),
    "samft:vit_b:1:cached:box:plain": row(8.0, 1.0, read=0, computed=4, images_at_once=1),
}
FACTS = asdict(SETUP) | dict.fromkeys(("torch", "lightning", "transformers", "peft"), "1.0")


def cells(line: str) -> str:
    return " | ".join(cell.strip() for cell in line.split("|")[1:-1])


def test_tables() -> None:
    lines = list(table.report(RESULTS, FACTS | {"machine": "a card"}))
    assert lines[0].startswith("a card, 2026-01-02: 64 px, 2 objects per image, bf16-mixed")
    text = [cells(line) for line in lines if line.startswith("| vit")]
    assert text == [
        "vit_b | 1 | lora | 6 | 2.00 | 4.00 | 4.00 (+0%) | 3 | 8.00 | 16.00 | 2.00x | 0.25",
        "vit_b | 1 | lora, compile | 9 (compiled in 41 s) | 2.00 | 4.00 | - | failed" + 4 * " | -",
        "vit_h | 4 | full | out of memory | at 70.0 | - | - | - | - | - | - | -",
        "vit_b | 1 | cached | box | 8 | 1.00 | 2.00 | - | - | -",
        "vit_b | 1 | full | paper | 2 | 4.00 | 8.00 | - | - | -",
        "vit_b | 1 | full, non_finite | paper | 1.9 | 4.00 | 8.00 | - | 0.95x | 1.00",
    ]
    widths = {len(line) for line in lines if line.startswith("| vit") and "paper" in line}
    assert len(widths) == 1


def test_what_must_be_said_is_said() -> None:
    notes = [line for line in table.report(RESULTS, FACTS | {"machine": "x"}) if line[:1] == "-"]
    assert notes[0].startswith("- Blocks of a row differ by 9.5% in the median, at most by 10%")
    cached, counts = "- samft:vit_b:1:cached:box:plain", "0 embeddings read, 4 computed"
    assert notes[2:] == [
        "- transformers:vit_b:1:lora:box:compile failed: no compiler",
        f"{cached} ran out of memory and went on with less at once.",
        f"{cached} found reading its store slower than computing, and computed: {counts}.",
    ]
