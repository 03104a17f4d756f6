"""What is said where SLURM does not queue a job again, and why."""

import logging
import os
import subprocess
from pathlib import Path

import pytest

from samft.callbacks import requeue

END = "; submit its script again"


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path / "scontrol"


def said(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    return record.getMessage()


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="needs shell scripts")
def test_what_slurm_says(scontrol: Path, caplog: pytest.LogCaptureFixture) -> None:
    program(scontrol, "echo 'Requested operation is presently disabled  for job 4711' >&2; exit 1")
    assert not requeue.queue_again()
    assert said(caplog) == (
        "SLURM job 4711 was not queued again: "
        f"Requested operation is presently disabled for job 4711{END}"
    )
    caplog.clear()
    program(scontrol, "exit 3")
    assert not requeue.queue_again()
    assert said(caplog) == f"SLURM job 4711 was not queued again: scontrol ended with 3{END}"


@pytest.mark.skipif(os.name == "nt", reason="needs shell scripts")
def test_a_task_of_an_array_is_named(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "10")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    program(scontrol, 'test "$*" = "requeue 10_3"')
    assert requeue.queue_again()
    assert said(caplog) == "SLURM job 10_3 was queued again"


def test_no_scontrol(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(scontrol.parent))
    assert not requeue.queue_again()
    assert said(caplog) == (
        f"SLURM job 4711 was not queued again: there is no scontrol here to ask with{END}"
    )


@pytest.mark.skipif(os.name == "nt", reason="needs shell scripts")
def test_no_answer(
    scontrol: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hangs(command: list[str], **settings: float) -> None:
        raise subprocess.TimeoutExpired(command, settings["timeout"])

    program(scontrol, "exit 0")
    monkeypatch.setattr(subprocess, "run", hangs)
    assert not requeue.queue_again()
    assert "scontrol did not answer within 60 seconds" in said(caplog)


@pytest.mark.parametrize("job", ["", "4711; true"])
@pytest.mark.usefixtures("scontrol")
def test_elsewhere_nothing_happens(
    job: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", job)
    assert not requeue.queue_again()
    assert not caplog.records
