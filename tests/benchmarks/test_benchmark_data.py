"""The data benchmark: its inputs, its two ways, its tables, and a small dry run of everything."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
import torch

from benchmarks import data as benchmark
from benchmarks.data_inputs import make_inputs
from benchmarks.data_ways import CASES, WAYS, Batch, index_start, open_way
from samft.data.shards import shard_index

SMALL = [
    *("--size", "64", "--batch", "2", "--batches", "1", "--repeat", "1", "--objects", "8"),
    *("--width", "320", "--side", "1100", "--entries", "500", "--shards", "4"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder, benchmark.parse(SMALL))
    return folder


@pytest.mark.parametrize("case", list(CASES))
def test_all_ways_give_the_same_batch(case: str, inputs: Path) -> None:
    ours, *others = (open_way(case, way, inputs, batch=2, size=64)(1) for way in WAYS[case])
    for theirs in others:
        found = benchmark.difference(ours, theirs)
        assert found["max_level"] <= 1
        assert found["objects"] >= 2
        assert found["wrong_pixels"] == 0


def test_differences_are_seen() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[:, :2] = True
    other = masks.clone()
    other[1, 0, 0] = False
    images = torch.full((1, 3, 4, 4), 7, dtype=torch.uint8)
    found = benchmark.difference(Batch(images, masks), Batch(images + 5, other))
    assert found == {"max_level": 5, "mean_level": 5.0, "objects": 2, "wrong_pixels": 1 / 15}


def test_table() -> None:
    options = benchmark.parse(["--cases", "labels", "--markdown"])
    results = {
        "labels/samft": {"ms": 50.0, "peak_mb": 60.0},
        "labels/straightforward": {"ms": 200.0, "peak_mb": 600.0},
        "labels/difference": {
            "max_level": 1,
            "mean_level": 0.002,
            "objects": 8,
            "wrong_pixels": 0.0,
        },
    }
    lines = list(benchmark.table(results, options))
    assert [cell.strip() for cell in lines[2].split("|")[2:-1]] == ["20.0", "", "60", ""]
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert cells == [
        "JPEG, label PNG: straightforward", "5.0", "4.0x", "600", "0.10 of it",
    ]  # fmt: skip
    assert "differ by at most 1 (0.0020 on average), 0.0000% of the pixels of 8" in lines[-1]
    results["labels/straightforward"] = {"failed": "no memory"}
    assert "failed" in list(benchmark.table(results, options))[3]


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.parse([]).cases == ["coco", "labels", "tiles"]
    with pytest.raises(SystemExit):
        benchmark.parse(["--help"])
    assert "measure the start of a large index" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        benchmark.parse(["--cases", "nothing"])


def test_a_large_index_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path / "cache"))
    make_inputs(tmp_path, benchmark.parse([*SMALL, "--index"]))
    monkeypatch.setattr(shard_index, "read_members", lambda path: pytest.fail("read again"))
    found = index_start(tmp_path)
    assert (found["entries"], found["shards"]) == (500, 4)
    assert found["seconds"] > 0
    text = "\n".join(benchmark.index_lines(found))
    assert "500 entries in 4 shards: start to the first batch" in text


def in_this_process(module: str, arguments: list[str], **environment: object) -> dict:
    """Stand in for a worker, which would take seconds to import everything once more."""
    assert module == "benchmarks.data"
    assert "SAMFT_CACHE" in environment
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        benchmark.main(list(arguments))
    return json.loads(printed.getvalue().splitlines()[-1])


def test_dry_run(inputs, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(benchmark, "run_worker", in_this_process)
    out = tmp_path / "results.json"
    words = [*SMALL, "--cases", "labels", "--folder", str(inputs), "--out", str(out)]
    benchmark.main(words)
    printed = capsys.readouterr().out
    assert "JPEG, label PNG: straightforward" in printed
    results = json.loads(out.read_text())["results"]
    assert set(results) == {f"labels/{n}" for n in ("samft", "straightforward", "difference")}
    assert results["labels/straightforward"]["ms"] > 0
    assert results["labels/difference"]["objects"] == 16
