"""The benchmark of input sizes: its table, its defaults, and one real measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import input_size as benchmark
from benchmarks.nano.sets import SETS, load
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam


def row(size: int, factor: float, *, trim: bool = False) -> benchmark.Row:
    return benchmark.Row(
        size=size,
        trim=trim,
        encode_ms=10 * factor,
        click_ms=4 * factor,
        peak_mb=100 * factor,
        box=0.8,
        point=0.612,
    )


def test_table() -> None:
    lines = list(benchmark.table([row(128, 0.25), row(256, 1), row(256, 0.5, trim=True)], 256))
    assert lines[2] == "| 128 | 2.5 | 0.25 | 1.0 | 0.25 | 25 | 0.25 | 0.800 | 0.612 |"
    assert lines[3] == "| 256 | 10.0 | 1.00 | 4.0 | 1.00 | 100 | 1.00 | 0.800 | 0.612 |"
    assert lines[4].startswith("| 256 trimmed | 5.0 | 0.50 |")
    assert "| - |" in list(benchmark.table([row(128, 1)], 256))[2]


def test_sizes_are_multiples_of_the_patch() -> None:
    assert benchmark.parse([]).sizes == [128, 192, 256, 384, 512]
    assert benchmark.parse(["--arch", "vit_b"]).sizes == [512, 768, 1024, 1536, 2048]
    assert benchmark.parse(["--sizes", "320"]).sizes == [320]


def test_an_unknown_set_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark.parse(["--set", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err


def test_one_measurement(data_folder: Path) -> None:
    images = load(SETS["dsb2018"], data_folder, limit=2)
    sam = build_sam("vit_nano", image_size=64)
    whole = benchmark.measure(sam, images, repeat=1)
    sam.trim_padding = True
    trimmed = benchmark.measure(sam, images, repeat=1)
    assert (whole.size, whole.trim, trimmed.trim) == (64, False, True)
    assert min(whole.encode_ms, whole.click_ms, trimmed.encode_ms) > 0
    assert 0 <= whole.box <= 1
    assert 0 <= trimmed.point <= 1


@pytest.mark.usefixtures("one_process")
def test_one_size_as_a_worker_measures_it(data_folder: Path, tmp_path: Path) -> None:
    save_state_dict(build_sam("vit_nano", image_size=64), tmp_path / "w.safetensors")
    words = ["--weights", str(tmp_path / "w.safetensors"), "--data", str(data_folder)]
    options = benchmark.parse([*words, "--limit", "2", "--repeat", "1", "--threads", "1"])
    found = benchmark.run_process(96, options, trim=True)
    assert (found.size, found.trim) == (96, True)
