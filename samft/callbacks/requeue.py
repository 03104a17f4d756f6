"""Asking SLURM for another turn of a job that has to leave its machine."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from typing import Final

_PATIENCE: Final = 60.0  # seconds; the run is saved by then, and its time is nearly over
_log = logging.getLogger(__name__)


def queue_again() -> bool:
    """Ask SLURM to start this job again; return whether it will, and say so. Elsewhere, do nothing.

    SLURM ends what is left of the job at once: everything must be saved by then.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ and "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None or not job.replace("_", "").isdigit():
        return False
    refusal = _requeue(job)
    if refusal is None:
        _log.warning("SLURM job %s was queued again", job)
        return True
    _log.warning("SLURM job %s was not queued again: %s; submit its script again", job, refusal)
    return False


def _requeue(job: str) -> str | None:
    """Return why SLURM would not, or `None`."""
    program = shutil.which("scontrol")
    if program is None:
        return "there is no scontrol here to ask with"
    command = [program, "requeue", job]
    try:
        done = subprocess.run(  # noqa: S603
            command, check=False, capture_output=True, text=True, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"scontrol did not answer within {_PATIENCE:g} seconds"
    if done.returncode == 0:
        return None
    said = " ".join(done.stderr.split())
    return said or f"scontrol ended with {done.returncode}"
