"""The processes of one start of a training: started, struck, and none of them left behind."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, Protocol

from benchmarks.soak.watching import FOLDER_VARIABLE

ROOT: Final = Path(__file__).parents[2]
_PRELOADED: Final = (
    "samft.cli.lightning",
    "samft.cli.resuming.resume_cli",
    "benchmarks.soak.trace",
)
_ORDER_S: Final = 3.0  # that a process gets to end in order when another one has died
_POLL_S: Final = 0.02


class Process(Protocol):
    """What can be asked of a process however it was started."""

    pid: int | None

    def poll(self) -> int | None:
        """Return the exit code; `None` while it runs."""


class Launch:
    """Starts `samft` in one process or several, each in a session of its own.

    Args:
        words: Command and options.
        ranks: Processes that train together.
        forked: As copies of a process that has imported everything and started no thread; else
            from nothing, with torchrun for several.
        folder: For their output, `log.txt`, and their traces.
        command: What a forked process does with the words; default is samft's command line.

    Attributes:
        trace: Folder in which each process says where it is, see `watching.seen`.
        killed: Whether any of it was killed on purpose.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        ranks: int,
        forked: bool,
        folder: Path,
        command: Callable[[list[str]], int] | None = None,
    ) -> None:
        self.trace = folder / "trace"
        self.trace.mkdir(parents=True, exist_ok=True)
        for path in self.trace.iterdir():
            path.unlink()
        self._log = folder / "log.txt"
        self._mark = {FOLDER_VARIABLE: str(self.trace), "OMP_NUM_THREADS": "1"}
        start = self._forked if forked else self._new
        self._processes: list[Process] = start(list(words), ranks, command)
        self._sessions = {process.pid for process in self._processes}
        self.killed = False
        self._told: float | None = None  # when the others were told to end
        atexit.register(self._sweep)  # after Ctrl-C, or a mistake of whoever watches

    def poll(self) -> int | None:
        """Return the first exit code that is not 0, or 0; `None` while a process runs.

        When one process has died the others are told to end, and killed if they do not, as
        torchrun does it.
        """
        codes = [process.poll() for process in self._processes]
        if None not in codes:
            return next((code for code in codes if code), 0)
        if any(codes):
            self._tell_to_end()
        return None

    def wait(self, timeout: float) -> int:
        """Wait for the end, and see to it that nothing of it stays.

        Raises:
            TimeoutError: if it takes longer; everything is killed then.
        """
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"it hangs: see {self._log}")
            time.sleep(_POLL_S)
        self._sweep()
        atexit.unregister(self._sweep)
        return code

    def kill(self) -> None:
        """SIGKILL all of its processes at once, loaders and launcher too."""
        self.killed = True
        self._sweep()
        while self.poll() is None:
            time.sleep(_POLL_S)

    def kill_one(self, pid: int) -> None:
        """SIGKILL one of its processes.

        Args:
            pid: Which; it says so itself in its trace.
        """
        self.killed = True
        _signal(pid, signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal to what was started: the one process, or the launcher."""
        for process in self._processes:
            _signal(process.pid, number)

    def left(self) -> list[int]:
        """Return the processes that belong to it and are alive."""
        mark = f"{FOLDER_VARIABLE}={self.trace}".encode()
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # gone, or somebody else's
                pid = int(place.name)
                if (place / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    continue
                ours = mark in (place / "environ").read_bytes().split(b"\0")
                if ours or os.getsid(pid) in self._sessions:
                    found.append(pid)
        return found

    def _sweep(self) -> None:
        while left := self.left():  # one that is just being started is found in the next round
            for pid in left:
                _signal(pid, signal.SIGKILL)
            time.sleep(_POLL_S)

    def _tell_to_end(self) -> None:
        now = time.monotonic()
        if self._told is None:
            self._told = now
            for process in self._processes:
                if process.poll() is None:
                    _signal(process.pid, signal.SIGTERM)
        elif now > self._told + _ORDER_S:
            self._sweep()

    def _new(self, words: list[str], ranks: int, _: object) -> list[Process]:
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"]
        launcher = torchrun if ranks > 1 else []
        with self._log.open("ab") as log:
            return [
                subprocess.Popen(
                    [sys.executable, "-m", *launcher, "samft", *words],
                    cwd=ROOT,
                    env=os.environ | self._mark,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            ]

    def _forked(
        self, words: list[str], ranks: int, command: Callable[[list[str]], int] | None
    ) -> list[Process]:
        os.environ["OMP_NUM_THREADS"] = "1"  # read when the server imports, which is once
        context = multiprocessing.get_context("forkserver")
        if command is None:
            context.set_forkserver_preload(list(_PRELOADED))
        port = _free_port()
        started: list[Process] = []
        for rank in range(ranks):
            told = self._mark | (_elastic(rank, ranks, port) if ranks > 1 else {})
            process = context.Process(target=_be, args=(words, told, str(self._log), command))
            process.start()
            started.append(_Forked(process))
        return started


class _Forked:
    """A process of `multiprocessing`, asked like one of `subprocess`."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit code; `None` while it runs."""
        return self._process.exitcode


def _be(
    words: list[str],
    environment: dict[str, str],
    log: str,
    command: Callable[[list[str]], int] | None,
) -> None:
    """Be a process of a training: all that a new one has from the one that starts it."""
    threads = len(list(Path(f"/proc/{os.getppid()}/task").iterdir()))
    if threads != 1:
        raise RuntimeError(f"a copy of a process with {threads} threads may hang")
    os.setsid()
    os.environ |= environment
    multiprocessing.set_start_method(None, force=True)  # the system's own, for loaders
    with Path(log).open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    if command is None:
        from lightning.fabric.utilities.rank_zero import rank_zero_only

        from samft.cli.entry import main as command

        rank_zero_only.rank = int(environment.get("RANK", "0"))  # taken when it was imported
    sys.exit(command(words))


def _elastic(rank: int, ranks: int, port: int) -> dict[str, str]:
    """Return what torchrun tells a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "soak",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _signal(pid: int | None, number: int) -> None:
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
