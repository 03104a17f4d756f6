"""The front door: fast, stdlib only, and never a traceback."""

import subprocess
import sys
import time

import pytest
import torch

import samft
from samft.cli import entry
from samft.errors import ConfigError, MachineError


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "samft", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_answers_at_once_without_torch(flag: str) -> None:
    code = (
        "import sys, time; start = time.perf_counter();"
        f"from samft.cli.entry import main; assert main([{flag!r}]) == 0;"
        "heavy = {'torch', 'lightning', 'numpy', 'yaml'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        best = min(best, time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
    # The promise is 0.3 s on a quiet machine; the rest is for a busy one.
    assert best < 1.0


def test_import_of_the_package_is_light() -> None:
    code = "import sys, samft; assert not {'torch', 'lightning', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main([]) == 0
    shown = capsys.readouterr().out
    for name in entry.COMMANDS:
        assert f"  {name} " in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["--version"]) == 0
    assert capsys.readouterr().out == f"samft {samft.__version__}\n"


def test_unknown_command_suggests() -> None:
    done = run("fitt", "--config", "x.yaml")
    assert done.returncode == 2
    assert "ConfigError: unknown command 'fitt'" in done.stderr
    assert "did you mean 'fit'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_config_may_stand_before_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--config", "a.yaml", "fit", "--data.root", "x"]
    assert entry._command_first(words) == ["fit", "--config", "a.yaml", "--data.root", "x"]


def test_offline_holds_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(entry.OFFLINE_VARIABLE, "0")
    assert entry._without_offline(["fit", "--offline", "--config", "x"]) == ["fit", "--config", "x"]
    assert entry.os.environ[entry.OFFLINE_VARIABLE] == "1"


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (ConfigError("no such thing", fix="try another"), 2, "ConfigError: no such thing\n  fix:"),
        (MachineError("disk full"), 3, "MachineError: disk full"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 3, "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), 3, "lower --data.batch_size"),
        (RuntimeError("boom\nsecond line"), 3, "unexpected RuntimeError: boom\n"),
    ],
)
def test_exit_codes(raised, code, said, monkeypatch, capsys) -> None:
    def fail(_: list[str]) -> int:
        raise raised

    monkeypatch.setattr(entry, "_dispatch", fail)
    monkeypatch.delenv(entry.DEBUG_VARIABLE, raising=False)
    assert entry.main(["fit"]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_debug_variable_shows_where(monkeypatch, capsys) -> None:
    def fail(_: list[str]) -> int:
        raise RuntimeError("boom")

    monkeypatch.setattr(entry, "_dispatch", fail)
    monkeypatch.setenv(entry.DEBUG_VARIABLE, "1")
    assert entry.main(["fit"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_the_plots_of_a_notebook_are_not_asked_for(monkeypatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    code = "from samft.cli.entry import main; main(['--version']); import matplotlib"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
