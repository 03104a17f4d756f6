"""Asking SLURM for another turn of a job that has to leave its machine."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess

_log = logging.getLogger(__name__)


def queue_again() -> bool:
    """Ask SLURM to start this job again; return whether it will. Elsewhere, do nothing."""
    job, program = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if "SLURM_ARRAY_JOB_ID" in os.environ and "SLURM_ARRAY_TASK_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    if job is None or program is None or not job.replace("_", "").isdigit():
        return False
    done = subprocess.run([program, "requeue", job], check=False, capture_output=True)  # noqa: S603
    queued = done.returncode == 0
    _log.info("SLURM job %s %s", job, "was queued again" if queued else "was not queued again")
    return queued
