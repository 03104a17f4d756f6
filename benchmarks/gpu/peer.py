"""The rows of `transformers` + peft: a plain loop, as their documentation has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from benchmarks.adapted_steps import TRANSFORMERS, Case, Training, build_step
from benchmarks.gpu import cases
from benchmarks.gpu.cases import GpuCase
from benchmarks.gpu.clock import StepClock
from benchmarks.gpu.setup import Setup
from benchmarks.measuring import peak_mb


def measure(case: GpuCase, setup: Setup) -> dict[str, Any]:  # Any: numbers and lists of them
    """Train in this process and return what it took.

    Boxes and targets are made once, before: the peer's step has nothing to do with them.
    """
    base = peak_mb(setup.place) if setup.device == "cpu" else 0.0
    torch.manual_seed(0)
    batch = setup.batch(case.images)
    method = "cached" if case.method == cases.DECODER else case.method
    with setup.place:
        step = build_step(
            Case(TRANSFORMERS, method, case.way == cases.CHECKPOINTING), batch, arch=case.arch
        )
    if case.way == cases.COMPILE:
        cast(Any, step.model).vision_encoder.compile()
    clock = StepClock(setup, base_mb=base)
    _train(_under_autocast(cast(Training, step.run), setup), clock)
    return clock.found() | {"trained": step.num_trained}


def _under_autocast(training: Training, setup: Setup) -> Callable[[], None]:
    """Return a step without a look at the loss, which would make the GPU wait."""

    def step() -> None:
        training.optimizer.zero_grad()
        with setup.autocast():
            loss = training.loss()
        loss.backward()
        training.optimizer.step()

    return step


def _train(step: Callable[[], None], clock: StepClock) -> None:
    clock.begin()
    done = False
    while not done:
        step()
        done = clock.step_done()
