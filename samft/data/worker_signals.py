"""Signals that reach the processes of a loader along with the training that they load for."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from typing import Final

_NOT_FOR_LOADERS: Final = ("SIGINT", "SIGUSR1")


def leave_signals_to_training(worker: int) -> None:  # noqa: ARG001  (a DataLoader gives it)
    """Let the training process alone decide when this process of its loader ends.

    SLURM sends SIGTERM to every process of a job, torchrun to the process groups of its ranks, a
    terminal Ctrl-C to all in front. A loader that dies of it takes away the next batch, before the
    training has come to the end of its step and has saved. SIGTERM from the training process
    itself, which torch sends when it tidies up, still ends this one; and so does its death.

    Args:
        worker: Number of the process, as a `DataLoader` gives it.
    """
    for name in _NOT_FOR_LOADERS:
        if hasattr(signal, name):  # Windows has no SIGUSR1
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    training = parent_process()
    if training is None or not hasattr(signal, "sigwaitinfo"):  # macOS and Windows do not say who
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_told, args=(training.pid,), daemon=True).start()


def _end_when_told(training: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
        pass
    os._exit(0)  # as torch's own handler does
