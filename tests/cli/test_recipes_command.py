"""`samft recipes`."""

from pathlib import Path

import pytest

from samft.cli.entry import main


def test_ls_says_what_each_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("folder", "medical", "microscopy", "pretrain_nano", "quickstart", "underwater"),
    ]
    assert all(len(line) > 40 for line in lines)


def test_show_and_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "medical"]) == 0
    text = capsys.readouterr().out
    assert "samft.MedicalDataModule" in text
    assert main(["recipes", "copy", "medical", str(tmp_path)]) == 0
    assert (tmp_path / "medical.yaml").read_text() == text
    assert main(["recipes", "copy", "medical.yaml", str(tmp_path)]) == 2
    assert "OutputError: file exists" in capsys.readouterr().err


def test_unknown_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "medcial"]) == 2
    assert "did you mean 'medical'" in capsys.readouterr().err
