"""What goes wrong in a loader's processes, told as if it had gone wrong in this one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from torch.utils.data import DataLoader

from samft.errors import MachineError, SamftError

_DIED: Final = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)")
_LOST: Final = (ConnectionError, EOFError, FileNotFoundError)  # half of what a process had to say
_BUS_ERROR: Final = "shared memory"
_REPORTED: Final = "Caught "  # how torch begins what it carries over from another process


@contextmanager
def explained_failures(loader: DataLoader[Any]) -> Iterator[None]:
    """Raise what an error of a loader's process means instead of the error.

    Args:
        loader: The loader that is being iterated.
    """
    try:
        yield
    except Exception as error:
        better = explained(error)
        if better is None and isinstance(error, _LOST):
            better = _dead_process(loader)
        if better is None:
            raise
        raise better from error


def explained(error: Exception) -> SamftError | None:
    """Return what an error of a loader's process means; `None` for every other error.

    Args:
        error: A `SamftError` that torch has carried over together with its traceback, or the
            `RuntimeError` by which it says that a process is gone. The latter is raised wherever
            this process happens to be.
    """
    text = str(error)
    if isinstance(error, SamftError) and error.what.startswith(_REPORTED):
        return _as_it_was(error, error.what)  # the message itself is one line, and cut
    died = _DIED.search(text) if isinstance(error, RuntimeError) else None
    if died is None:
        return None
    return _death(
        f"process {died[1].strip()} {died[2].split('.')[0].strip()}", no_room=_BUS_ERROR in text
    )


def _dead_process(loader: DataLoader[Any]) -> SamftError | None:
    for process in getattr(loader._iterator, "_workers", ()):
        with suppress(RuntimeError):  # torch's, which interrupts by telling of the same death
            process.join(timeout=1)  # it may be dying just now
        if process.exitcode:
            return _death(f"process {process.pid} exited with {process.exitcode}")
    return None


def _death(found: str, *, no_room: bool = False) -> MachineError:
    fix = (
        "memory may have run out: lower data.num_workers or data.batch_size; "
        "samft resume RUN goes on"
    )
    if no_room:
        fix = (
            "give the container more shared memory (docker run --shm-size 8g, or see "
            "docs/launch.md), or set data.num_workers 0; samft resume RUN goes on"
        )
    return MachineError(
        "a process that loads data has died", where="data.num_workers", found=found, fix=fix
    )


def _as_it_was(error: SamftError, text: str) -> SamftError:
    """Return the error without the traceback that torch has put in front."""
    name = type(error).__name__
    message = text.rpartition(f"{name}: ")[2].strip("\n")
    what, *rest = message.splitlines()
    again = type(error)(what)
    again.args = ("\n".join([what, *rest]),)
    return again
