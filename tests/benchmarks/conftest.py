"""Makes `import benchmarks` work however pytest is started, and the data the nano tests share."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.nano import tuning


@pytest.fixture(autouse=True)
def few_timed_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spend little on finding out how long a step takes; here nothing is measured."""
    monkeypatch.setattr(tuning, "_TIMED_STEPS", 2)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let `python -m MODULE` run in this process: another one imports everything, for seconds."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        program, flag, module, *words = command
        assert (program, flag) == (sys.executable, "-m")
        monkeypatch.setattr(sys, "argv", [module, *words])
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            importlib.import_module(module).main()
        return subprocess.CompletedProcess(command, 0, said.getvalue(), "")

    threads = torch.get_num_threads()
    monkeypatch.setattr(subprocess, "run", run)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data_folder(tmp_path: Path, dsb_folder: Path, suim_folder: Path) -> Path:
    """A folder laid out as the real data is, with generated images."""
    for name, folder in (("microscopy/DSB2018", dsb_folder), ("underwater/SUIM", suim_folder)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(folder)
    return tmp_path


@pytest.fixture(scope="session")
def nano_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained nano model."""
    from samft.module import SamModule

    torch.manual_seed(3)
    module = SamModule("vit_nano", adapt="full", seed=11)
    run = tmp_path_factory.mktemp("run")
    (run / "checkpoints").mkdir()
    (run / "config.fit.yaml").write_text("data: {class_path: Generated, init_args: {size: 99}}\n")
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "epoch": 4,
        "global_step": 1234,
    }
    torch.save(content, run / "checkpoints" / "best.ckpt")
    return run
