"""The encoder benchmark: its operation count, its table, and one real measurement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import encoder as benchmark
from samft.models.config import ARCHITECTURES


@pytest.mark.parametrize(("arch", "gflop"), [("vit_b", 972), ("vit_l", 2986), ("vit_h", 5961)])
def test_operation_count(arch, gflop):
    """Measured by others on the official encoder at 1024 px."""
    assert round(benchmark.count_gflop(ARCHITECTURES[arch])) == gflop


def test_table():
    options = benchmark.parse(["--modes", "forward", "--cases", "samft", "segment_anything"])
    best = {
        ("matmul", "bound"): benchmark.Measurement(0.01, 0.01, 300.0),
        ("samft", "forward"): benchmark.Measurement(5.0, 5.0, 800.0),
        ("segment_anything", "forward"): benchmark.Measurement(20.0, 20.0, 3200.0),
    }
    lines = list(benchmark.table(best, options))
    assert "one large torch.mm: 100 GFLOP/s" in lines
    assert "forward: 972 GFLOP, 9.72 s at that rate" in lines
    ours, theirs = lines[-2].split(), lines[-1].split()
    assert ours == ["samft", "5.00", "5.00", "800", "194", "194%"]
    assert theirs[:4] == ["segment_anything", "20.00", "20.00", "4.00x"]
    assert theirs[4:] == ["3200", "0.25", "of", "it", "49", "49%"]


def test_unknown_case(capsys):
    with pytest.raises(SystemExit):
        benchmark.parse(["--cases", "nobody"])
    assert "invalid choice: 'nobody'" in capsys.readouterr().err


@pytest.mark.usefixtures("one_process")
def test_one_measurement_as_a_worker_takes_it():
    options = benchmark.parse(["--size", "128", "--repeat", "1", "--device", "cpu"])
    found = benchmark.run_process("samft", "forward", options)
    assert 0 < found.seconds < 60
    assert found.peak_mb > 300
    assert benchmark.count_gflop(replace(ARCHITECTURES["vit_b"], image_size=128)) < 20
