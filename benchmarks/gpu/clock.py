"""Times steps without making a GPU wait between them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import torch

from benchmarks.gpu.setup import Setup
from benchmarks.measuring import peak_mb, wait

_BLOCKS: Final = 3
_MIB: Final = 2**20


class StepClock:
    """Takes the time of a few blocks of steps, after some steps to warm up, and the memory.

    The device is waited for at the ends of blocks alone: in training nobody waits either. How many
    steps a block has follows from the last step of the warm-up.

    Args:
        setup: Steps and seconds.
        base_mb: What the process held before, on a CPU.
        timer: A clock, in seconds.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        base_mb: float = 0.0,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._setup, self._base, self._timer = setup, base_mb, timer
        self._blocks = min(_BLOCKS, setup.steps)
        self._per_block = 1
        self._count = 0
        self._start = self._mark = 0.0
        self._warm_peak = 0.0
        self.first_seconds = self.warm_up_seconds = 0.0
        self.step_seconds: list[float] = []

    @property
    def most_steps(self) -> int:
        """How many steps it may take until it is done."""
        return self._setup.warm_up + self._setup.steps

    def begin(self) -> None:
        """Start; the first step follows."""
        self._start = self._now()

    def step_done(self) -> bool:
        """Count a step; return whether it was the last that is needed."""
        self._count += 1
        warm_up = self._setup.warm_up
        if self._count == 1:
            self.first_seconds = self._now() - self._start
        if self._count == warm_up - 1:
            self._mark = self._now()
        elif self._count == warm_up:
            self._end_warm_up()
        elif self._count > warm_up and (self._count - warm_up) % self._per_block == 0:
            now = self._now()
            self.step_seconds.append((now - self._mark) / self._per_block)
            self._mark = now
        return len(self.step_seconds) == self._blocks

    def found(self) -> dict[str, Any]:  # Any: numbers and lists of them
        """Return times in seconds and memory in MiB.

        `peak_mb` is what tensors took at most in the timed steps, `reserved_mb` what PyTorch held
        of the GPU for it; on a CPU there is the memory of the process alone.
        """
        place, step = self._setup.place, median(self.step_seconds)
        found = {
            "steps_per_s": 1 / step,
            "step_seconds": self.step_seconds,
            "steps": len(self.step_seconds) * self._per_block,
            "first_seconds": self.first_seconds,
            "compile_seconds": max(0.0, self.warm_up_seconds - self._setup.warm_up * step),
            "peak_mb": peak_mb(place) - self._base,
        }
        if place.type == "cuda":
            found["warm_up_peak_mb"] = self._warm_peak
            found["reserved_mb"] = torch.cuda.max_memory_reserved(place) / _MIB
        return found

    def _end_warm_up(self) -> None:
        now = self._now()
        self.warm_up_seconds = now - self._start
        most = max(1, self._setup.steps // self._blocks)
        wanted = self._setup.seconds / self._blocks / max(now - self._mark, 1e-9)
        self._per_block = min(most, max(1, math.ceil(wanted)))
        if self._setup.device == "cuda":
            self._warm_peak = peak_mb(self._setup.place)
            torch.cuda.reset_peak_memory_stats(self._setup.place)
        self._mark = self._now()

    def _now(self) -> float:
        wait(self._setup.place)
        return self._timer()
