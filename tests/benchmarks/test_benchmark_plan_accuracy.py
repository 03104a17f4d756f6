"""The comparison of estimates with fits: its cases, its file of results and its verdict."""

import sys

import pytest

from benchmarks import plan_accuracy


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["plan_accuracy", *words])
    return plan_accuracy.main()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What was measured; estimates are 1100, measured is 1000 or, of the second case, 1300."""
    calls: list[tuple[str, ...]] = []
    more = iter((300.0, 0.0, -10.0) * 9)

    def worker(module: str, words: tuple[str, ...], *, threads: int) -> dict[str, float]:
        assert (module, threads) == ("benchmarks.plan_accuracy", 1)
        calls.append(words)
        if "plan" in words:
            return {"total": 1100.0}
        return {"peak": [1000.0, 1300.0][int(words[-1])] + next(more)}

    monkeypatch.setattr(plan_accuracy, "run_worker", worker)
    return calls


def test_there_are_ten_and_each_has_a_name() -> None:
    names = [plan_accuracy.name_of(case) for case in plan_accuracy.CASES]
    assert len(set(names)) == 10
    assert names[1] == "vit_nano, 256 px, 16 images, full, checkpoint_blocks"


def test_results_are_kept_and_judged(asked, monkeypatch, tmp_path, capsys) -> None:
    path = str(tmp_path / "plan.json")
    assert run(monkeypatch, "--only", "0", "--results", path) == 0
    assert "1100           1000    990 to 1300  +10.0%" in capsys.readouterr().out
    assert run(monkeypatch, "--only", "0", "1", "--results", path, "--markdown") == 1
    assert [words[1::2] for words in asked] == [
        (w, n) for n in "01" for w in ("plan", "fit", "fit", "fit")
    ]
    shown = capsys.readouterr().out
    assert "| -15.4% |" in shown
    assert "worst: 15.4% of at most 15%" in shown


def test_a_failure_is_no_success(monkeypatch, capsys) -> None:
    monkeypatch.setattr(plan_accuracy, "run_worker", lambda *_, **__: {"failed": "no room"})
    assert run(monkeypatch, "--only", "3") == 1
    assert "no room" in capsys.readouterr().out
