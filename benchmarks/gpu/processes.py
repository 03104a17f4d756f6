"""A process for each case, which cannot harm the others and cannot take for ever."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from benchmarks.gpu.cases import GpuCase
from benchmarks.gpu.setup import Setup
from benchmarks.gpu.worker import ESTIMATE, MEASURE
from benchmarks.results import ROOT, Result

WORKER: Final = "benchmarks.gpu.worker"
_SAID = 3  # last lines of a failure


class Worker:
    """A process that has imported what it needs and begins when `run` is called.

    Args:
        case: What it measures.
        setup: The size of a step.
        task: `MEASURE`, or `ESTIMATE`, which sees no GPU.
        module: What is run.
    """

    def __init__(
        self, case: GpuCase, setup: Setup, *, task: str = MEASURE, module: str = WORKER
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        # A store of compiled code of its own: the time to compile is part of the result.
        environment: dict[str, str] = os.environ | {"TORCHINDUCTOR_CACHE_DIR": self._folder.name}
        if setup.threads:
            environment["OMP_NUM_THREADS"] = str(setup.threads)
        if task == ESTIMATE:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, task, case.name, json.dumps(asdict(setup))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
            start_new_session=True,  # so that its compilers can be ended with it
        )

    def run(self, seconds: float) -> Result | None:
        """Return what it found.

        Args:
            seconds: Longest time.

        Returns:
            Its result; `{"failed": what it said last}` if it ended with an error; `None` if it took
            too long and was ended.
        """
        try:
            said, errors = self._process.communicate("begin\n", timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.end()
        if self._process.returncode:
            return {"failed": _reason(self._process.returncode, errors)}
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found

    def end(self) -> None:
        """End the process and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                with suppress(OSError):
                    stream.close()
        self._folder.cleanup()


def _reason(code: int, errors: str) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        note = ", as the system does when memory is short" if name == "SIGKILL" else ""
        return f"ended by {name}{note}"
    lines = [line.strip() for line in errors.strip().splitlines() if line.strip()]
    return " ".join(lines[-_SAID:])[:400] or f"exit status {code}"
