"""Run folders are found, opened and never reused."""

from pathlib import Path

import pytest

from samft.errors import CheckpointError, ConfigError
from samft.runs import load_run, new_run_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoints = tmp_path / "runs" / "cells" / "3" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "best.ckpt").touch()
    (checkpoints / "last.ckpt").touch()
    (checkpoints.parent / "config.fit.yaml").touch()
    return checkpoints.parent


def test_folder_checkpoints_and_file_mean_the_same_run(folder: Path) -> None:
    for place in (folder, folder / "checkpoints", folder / "checkpoints" / "best.ckpt"):
        run = load_run(place)
        assert run.checkpoint == folder / "checkpoints" / "best.ckpt"
        assert run.folder == folder
        assert run.config == folder / "config.fit.yaml"


def test_last_and_the_other_one(folder: Path) -> None:
    assert load_run(folder, which="last").checkpoint.name == "last.ckpt"
    (folder / "checkpoints" / "best.ckpt").unlink()
    assert load_run(folder).checkpoint.name == "last.ckpt"


def test_checkpoint_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "some.ckpt"
    path.touch()
    run = load_run(path)
    assert (run.checkpoint, run.folder, run.config) == (path, None, None)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such run folder or checkpoint") as caught:
        load_run(tmp_path / "nope")
    assert str(tmp_path / "nope") in str(caught.value)
    with pytest.raises(CheckpointError, match="this folder holds no checkpoint") as caught:
        load_run(tmp_path)
    assert "checkpoints/best.ckpt" in str(caught.value)


def test_numbers_go_up(tmp_path: Path) -> None:
    assert new_run_folder(tmp_path, "cells") == tmp_path / "cells" / "0"
    (tmp_path / "cells" / "0").mkdir(parents=True)
    (tmp_path / "cells" / "7").mkdir()
    (tmp_path / "cells" / "notes").mkdir()
    assert new_run_folder(tmp_path, "cells") == tmp_path / "cells" / "8"


def test_runs_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigError, match="the runs folder is a file"):
        new_run_folder(tmp_path / "runs", "cells")
