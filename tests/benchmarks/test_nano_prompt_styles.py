"""The comparison of prompt styles, on generated images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.nano import prompt_styles


@pytest.mark.slow
def test_every_style_has_its_row(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = replace(prompt_styles.AUTOMATIC, points_per_side=5)
    monkeypatch.setattr(prompt_styles, "AUTOMATIC", few)
    monkeypatch.setattr(prompt_styles, "AUTOMATIC_IMAGES", 1)
    words = ["--data", str(data_folder), "--images", "4", "--test-images", "1", "--objects", "2"]
    assert prompt_styles.main([*words, "--seconds", "0.1"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-len(prompt_styles.COLUMNS) :] == list(prompt_styles.COLUMNS)
    assert [row.split()[0] for row in rows] == ["paper", "box_only"]
    for row in rows:
        scores = [float(word) for word in row.split()[2:]]
        assert all(0 <= score <= 1 for score in scores[:5])


def test_unknown_style(data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(data_folder), "--images", "4", "--styles", "papre"]
    assert prompt_styles.main(words) != 0
    assert "configs/prompts/papre.yaml" in capsys.readouterr().err
