"""What fuzzing has found its way with, given to every reader once more.

The inputs are in `corpus/`, one archive per reader (`python -m benchmarks.fuzzing --keep`).
"""

from pathlib import Path

import pytest

from benchmarks.fuzzing.corpus import KEPT, read_kept
from benchmarks.fuzzing.registry import all_targets, find_target
from benchmarks.fuzzing.target import LARGEST_FILE, run_input


@pytest.fixture(autouse=True)
def small_limit(monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(LARGEST_FILE))


@pytest.mark.parametrize("name", all_targets())
def test_every_seed_is_read(tmp_path: Path, name: str) -> None:
    target = find_target(name)
    (tmp_path / "making").mkdir()
    seeds = target.seeds(tmp_path / "making")
    assert seeds
    for number, seed in enumerate(seeds):
        assert run_input(target, seed, tmp_path / str(number)) == "read", f"seed {number}"


@pytest.mark.parametrize("name", all_targets())
def test_kept_inputs_are_read_or_refused(tmp_path: Path, name: str) -> None:
    target, outcomes = find_target(name), set()
    for entry, data in read_kept(name):
        try:
            outcomes.add(run_input(target, data, tmp_path / entry))
        except Exception as error:
            error.add_note(f"input {entry} of {KEPT / name}.zip")
            raise
    assert "read" in outcomes, "a corpus holds its seeds"


def test_no_corpus_is_left_over() -> None:
    assert {path.stem for path in KEPT.glob("*.zip")} == set(all_targets())
