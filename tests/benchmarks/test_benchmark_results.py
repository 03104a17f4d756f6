"""What the benchmarks share: worker processes, the file of results, the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.results import aligned, read_results, run_worker, write_results


def test_a_worker_that_fails_says_why() -> None:
    found = run_worker("json.tool", ["no_such_file.json"], threads=1)
    assert list(found) == ["failed"]
    assert "No such file or directory: 'no_such_file.json'" in found["failed"]


def test_a_worker_has_its_threads_and_variables(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "says.py").write_text(
        "import json, os, sys\n"
        "print('noise')\n"
        "names = ('OMP_NUM_THREADS', 'SAMFT_CACHE')\n"
        "print(json.dumps({'given': sys.argv[1:], **{n: os.environ[n] for n in names}}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = run_worker("says", ["--size", "3"], threads=5, SAMFT_CACHE="here")
    assert found == {"given": ["--size", "3"], "OMP_NUM_THREADS": "5", "SAMFT_CACHE": "here"}


def test_results_of_another_setup_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert read_results(path, {"size": 1}) == read_results(None, {"size": 1}) == {}
    write_results(None, {"size": 1}, {})
    write_results(path, {"size": 1}, {"a": {"seconds": 2.0}})
    assert json.loads(path.read_text())["setup"] == {"size": 1}
    assert read_results(path, {"size": 1}) == {"a": {"seconds": 2.0}}
    with pytest.raises(SystemExit, match=r"results\.json holds results of another setup.*size"):
        read_results(path, {"size": 2})


def test_table() -> None:
    rows = [["name", "MB"], ["a", "12.5"]]
    assert list(aligned(rows, markdown=False)) == ["name    MB", "a     12.5"]
    assert list(aligned(rows, markdown=True)) == [
        "| name |   MB |",
        "|---|---:|",
        "| a    | 12.5 |",
    ]
