"""A run folder given as a checkpoint brings its configuration."""

from pathlib import Path

import pytest

from samft.cli.run_arguments import complete_from_run
from samft.errors import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0" / "checkpoints").mkdir(parents=True)
    (tmp_path / "0" / "checkpoints" / "best.ckpt").touch()
    (tmp_path / "0" / "config.fit.yaml").touch()
    return tmp_path / "0"


def test_folder_is_completed(folder: Path) -> None:
    checkpoint, config = folder / "checkpoints" / "best.ckpt", folder / "config.fit.yaml"
    expected = ["test", "--config", str(config), "--ckpt_path", str(checkpoint), "--data.root", "x"]
    for given in (["--ckpt_path", str(folder)], [f"--ckpt_path={folder}"]):
        assert complete_from_run(["test", *given, "--data.root", "x"]) == expected


def test_fit_goes_on_from_the_last(folder: Path) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    last.touch()
    assert str(last) in complete_from_run(["fit", "--ckpt_path", str(folder)])
    assert str(last) not in complete_from_run(["test", "--ckpt_path", str(folder)])


def test_a_given_configuration_stays(folder: Path) -> None:
    words = ["test", "--config", "mine.yaml", "--ckpt_path", str(folder)]
    assert complete_from_run(words) == [
        *("test", "--config", "mine.yaml", "--ckpt_path"),
        str(folder / "checkpoints" / "best.ckpt"),
    ]


def test_without_checkpoint_nothing_changes() -> None:
    assert complete_from_run(["fit", "--config", "a.yaml"]) == ["fit", "--config", "a.yaml"]
    assert complete_from_run(["fit", "--ckpt_path"]) == ["fit", "--ckpt_path"]


def test_missing_run() -> None:
    with pytest.raises(CheckpointError, match="no such run folder or checkpoint"):
        complete_from_run(["test", "--ckpt_path", "nope"])
