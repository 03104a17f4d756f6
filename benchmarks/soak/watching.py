"""Reading, from outside, where the processes of a training are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

FOLDER_VARIABLE: Final = "SAMFT_SOAK_TRACE"
"""Environment variable with the folder where every process writes a file."""

Phase = Literal["step", "saving", "validation", "between", "over"]
"""What a training does; `saving` begins when a state is gathered."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where one process of a training was last.

    Args:
        pid: The process.
        batch: Training batches begun since the run began, resumed or not.
        step: Optimiser steps done.
        phase: What it was doing; `saving` from the moment a state is gathered.
    """

    pid: int
    batch: int
    step: int
    phase: Phase

    def text(self) -> bytes:
        """Return what a process writes; all are of one length, so that one replaces another."""
        return f"{self.pid} {self.batch} {self.step} {self.phase}".ljust(64).encode()


def seen(folder: Path, rank: int = 0) -> Seen | None:
    """Return where a process is; `None` before its training is under way.

    Args:
        folder: That of `FOLDER_VARIABLE`.
        rank: Number of the process among those that train together.
    """
    try:
        words = (folder / str(rank)).read_text().split()
    except FileNotFoundError:
        return None
    if len(words) != 4 or words[3] not in get_args(Phase):
        return None  # just made
    return Seen(int(words[0]), int(words[1]), int(words[2]), words[3])  # type: ignore[arg-type]  # checked
