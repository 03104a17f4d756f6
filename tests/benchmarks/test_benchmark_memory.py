"""The memory benchmark: all programs do the same training, and the tables do their arithmetic."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from models.tiny_sam import TINY as NARROW
from parity.reference_models import gradient_differences, huggingface_key, official_sam, randomise
from torch import Tensor, nn

from benchmarks import adapted_steps, memory
from benchmarks.adapted_steps import METHODS, PROGRAMS, Case, build_step, distinct_images
from benchmarks.train_step import make_batch
from samft.models.config import ARCHITECTURES
from samft.types import SamBatch

# Wide enough for the preset's rank.
TINY = replace(NARROW, encoder=replace(NARROW.encoder, dim=128, depth=4, heads=4))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def batch() -> SamBatch:
    (images,) = distinct_images(make_batch(2, 3, TINY.image_size), [5])
    return images


def losses(case: Case, batch: SamBatch, monkeypatch: pytest.MonkeyPatch) -> tuple[float, int]:
    """Return the first loss of a program with the weights that all have, and how many it trains."""
    monkeypatch.setattr(adapted_steps, "_training", lambda loss, _: lambda: backward(loss))
    step = build_step(case, batch, arch="tiny")
    give_weights(step.model, case.program)
    return step.run(), step.num_trained


def backward(loss) -> float:
    value = loss()
    value.backward()
    return float(value.detach())


def give_weights(model: nn.Module, program: str) -> None:
    state = build_weights()
    if program == adapted_steps.SAMFT:
        model = model.sam
    elif program == adapted_steps.TRANSFORMERS:
        state = {huggingface_key(key): value for key, value in state.items()}
        shared = state["prompt_encoder.shared_embedding.positional_embedding"]
        state["shared_image_embedding.positional_embedding"] = shared
    own = {key.replace(".base_layer.", "."): key for key in model.state_dict()}
    model.load_state_dict({own[key]: value for key, value in state.items()}, strict=False)


def build_weights() -> dict[str, Tensor]:
    torch.manual_seed(0)  # the position codes are no parameters
    model = official_sam(TINY)
    randomise(model)
    return model.state_dict()


@pytest.mark.parametrize("method", [m for m in METHODS if "cached" not in m])
def test_all_programs_do_the_same(method: str, batch: SamBatch, monkeypatch) -> None:
    found = [losses(Case(program, method), batch, monkeypatch) for program in PROGRAMS]
    values, trained = zip(*found, strict=True)
    assert values[1] == pytest.approx(values[0], rel=1e-4)
    assert values[2] == pytest.approx(values[0], rel=1e-4)
    assert max(trained) - min(trained) <= TINY.embed_dim  # transformers has one vector more


def test_gradients_of_full_training_agree(batch: SamBatch, monkeypatch) -> None:
    monkeypatch.setattr(adapted_steps, "_training", lambda loss, _: lambda: backward(loss))
    steps = [build_step(Case(program, "full"), batch, arch="tiny") for program in PROGRAMS]
    for step, program in zip(steps, PROGRAMS, strict=True):
        give_weights(step.model, program)
        step.run()
    ours = steps[0].model.sam
    for step, huggingface in zip(steps[1:], (True, False), strict=True):
        worst = gradient_differences(ours, step.model, huggingface=huggingface)
        assert max(worst.values()) < 1e-3, max(worst, key=worst.get)


@pytest.mark.parametrize("program", PROGRAMS)
def test_cached_steps_do_not_run_the_encoder(program: str, batch: SamBatch) -> None:
    step = build_step(Case(program, "cached"), batch, arch="tiny")
    first = step.run()
    model = step.model.sam if program == adapted_steps.SAMFT else step.model
    encoder = model.vision_encoder if program == adapted_steps.TRANSFORMERS else model.image_encoder
    encoder.register_forward_hook(lambda *_: pytest.fail("the encoder ran"))
    assert step.run() < first
    step.close()


def test_late_lora_starts_from_what_is_cached(batch: SamBatch) -> None:
    plain, cached = (
        build_step(Case(adapted_steps.SAMFT, method), batch, arch="tiny")
        for method in ("late_lora", "late_lora_cached")
    )
    cached.model.load_state_dict(plain.model.state_dict())
    assert cached.run() == pytest.approx(plain.run(), rel=1e-3)
    blocks = cached.model.sam.image_encoder.blocks
    blocks[0].register_forward_hook(lambda *_: pytest.fail("a frozen block ran"))
    cached.run()
    cached.close()


@pytest.mark.parametrize("program", PROGRAMS[:2])
def test_checkpointing_changes_no_loss(program: str, batch: SamBatch) -> None:
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        step = build_step(Case(program, "lora", checkpointing), batch, arch="tiny")
        found.append([step.run() for _ in range(3)])
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0][2] < found[0][0]


def test_what_makes_no_sense_is_left_out() -> None:
    names = memory.wanted(memory.parse([]))
    assert len(names) == len(set(names)) == 23
    assert names.index("samft:frozen") == 0
    assert names[-1] == memory.EPOCH
    assert [memory.name_of(memory.case_of(name)) for name in names[:-1]] == names[:-1]
    assert not any("segment_anything" in name and "checkpointing" in name for name in names)
    assert not any("cached:checkpointing" in name for name in names)
    some = memory.parse(["--only", "lora", "--programs", "samft", "transformers"])
    assert memory.wanted(some) == [
        "samft:lora",
        "transformers:lora",
        "samft:lora:checkpointing",
        "transformers:lora:checkpointing",
    ]


RESULTS = {
    "samft:lora": {"peak_mb": 500.0, "seconds": 2.0, "trained": 4_300_000},
    "transformers:lora": {"peak_mb": 1000.0, "seconds": 3.0, "trained": 4_300_000},
    "segment_anything:lora": {"peak_mb": 2000.0, "seconds": 5.0, "trained": 4_300_000},
    "samft:lora:checkpointing": {"peak_mb": 400.0, "seconds": 2.5, "trained": 4_300_000},
    "transformers:lora:checkpointing": {"failed": "out of memory"},
}


def test_table() -> None:
    head, *rows = (line.split("|") for line in memory.table(RESULTS, markdown=True))
    assert len({len(row) for row in [head, *rows]}) == 1
    cells = [[cell.strip() for cell in row[1:-1]] for row in rows[1:]]
    assert [" ".join(row) for row in cells] == [
        "lora no 4.30M 500 2.00 1000 3.00 2000 5.00 0.50 0.25 1.50 2.50",
        "lora yes 4.30M 400 2.50 failed failed - - - 0.20 - 2.00",
    ]
    plain = list(memory.table(RESULTS))
    assert plain[1].split() == cells[0]
    busy = {name: item | {"cpu_seconds": 1.0} for name, item in RESULTS.items()}
    assert list(memory.table(busy, clock="cpu"))[1].split()[4::2][:3] == ["1.00"] * 3


def test_epoch_table() -> None:
    wall = {
        "frozen_encoder": 2.0, "cached_encoder": 0.02, "frozen_epoch": 2.5, "cached_epoch": 0.5,
    }  # fmt: skip
    found = {f"{name}_seconds": value for name, value in wall.items()}
    lines = list(memory.epoch_table(found))
    assert lines[1].split() == ["encoder", "alone", "2000.0", "20.0", "100.0x"]
    assert lines[2].split() == ["whole", "training", "step", "2500.0", "500.0", "5.0x"]
    found |= {f"{name}_cpu_seconds": 2 * value for name, value in wall.items()}
    assert "1000.0" in list(memory.epoch_table(found, clock="cpu"))[2]


def test_results_are_kept_and_gone_on_with(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def run(name: str, options: argparse.Namespace, cache: str) -> dict:
        asked.append(name)
        return RESULTS.get(name, {"failed": "x"})

    monkeypatch.setattr(memory, "run_process", run)
    path = tmp_path / "memory.json"
    given = ["--results", str(path), "--programs", "samft"]
    memory.run_all(memory.parse([*given, "--only", "lora"]))
    assert asked == ["samft:lora", "samft:lora:checkpointing"]
    both = memory.run_all(memory.parse([*given, "--only", "lora", "cached"]))
    assert asked[2:] == ["samft:cached", "samft:cached"]  # fills the cache, then measures
    assert json.loads(path.read_text())["results"] == both
    memory.run_all(memory.parse(["--only", "lora", "--programs", "samft", "--repeat", "3"]))
    assert asked[4:] == ["samft:lora"] * 3 + ["samft:lora:checkpointing"] * 3
    with pytest.raises(SystemExit, match="results of another setup"):
        memory.run_all(memory.parse([*given, "--size", "256"]))


def test_the_fastest_and_smallest_count() -> None:
    runs = [{"seconds": 2.0, "peak_mb": 7.0}, {"seconds": 3.0, "peak_mb": 6.0}]
    assert memory._best(runs) == {"seconds": 2.0, "peak_mb": 6.0}
    assert memory._best([*runs, {"failed": "x"}]) == {"failed": "x"}


def test_epochs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: False)
    options = memory.parse(["--arch", "tiny", "--size", "128", "--objects", "1", "--device", "cpu"])
    found = memory.measure_epochs(options)
    assert found.pop("images") == 4
    assert len(found) == 8
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.slow
def test_one_measurement_in_its_own_process(tmp_path: Path) -> None:
    options = memory.parse(["--size", "64", "--objects", "1", "--device", "cpu", "--threads", "1"])
    found = memory.run_process("samft:frozen", options, str(tmp_path))
    assert found["program"] == "samft"
    assert 350 < found["peak_mb"] < 1500  # ViT-B's weights alone are 358 MB
    assert 0 < found["seconds"] < 60
