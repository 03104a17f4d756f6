"""The run folder, found without asking the other processes."""

from pathlib import Path

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger
from quick_trainer import quick_trainer

from samft.callbacks.run_folder import run_folder


class Elsewhere(Logger):
    """A logger that writes to no folder."""

    name = version = "elsewhere"

    def log_metrics(self, metrics, step=None) -> None: ...

    def log_hyperparams(self, params) -> None: ...


def refuse(_: Trainer) -> None:
    pytest.fail("`Trainer.log_dir` waits for the other processes")


def test_it_is_the_first_loggers_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = CSVLogger(str(tmp_path), name="run", version="0")
    trainer = quick_trainer(tmp_path, logger=[logger, Elsewhere()])
    expected = trainer.log_dir
    monkeypatch.setattr(Trainer, "log_dir", property(refuse))
    assert run_folder(trainer) == Path(expected) == tmp_path / "run" / "0"
    assert run_folder(quick_trainer(tmp_path)) == tmp_path
    assert run_folder(quick_trainer(tmp_path, logger=Elsewhere())) is None
