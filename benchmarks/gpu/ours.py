"""samft's rows: a Lightning trainer, as `samft fit` has one, on one batch over and over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from lightning.pytorch import Callback, Trainer

from benchmarks.adapted_steps import SAMFT, Case, box_prompts, build_module
from benchmarks.gpu import cases
from benchmarks.gpu.cases import GpuCase
from benchmarks.gpu.clock import StepClock
from benchmarks.gpu.setup import Setup
from benchmarks.measuring import peak_mb
from samft.allocator import keep_freed_memory
from samft.callbacks.non_finite import NonFinite
from samft.module import SamModule
from samft.planning.estimate import estimate_memory
from samft.planning.step import StepShape
from samft.prompts.presets import preset
from samft.sharding import ShardedStrategy
from samft.types import SamBatch

_MIB: Final = 2**20
_READS: Final = 20
"""Steps that a store of embeddings has seen when it knows whether reading is worth it."""


@dataclass(frozen=True)
class Again:
    """The same batch over and over; no loader, which is measured elsewhere.

    Args:
        batch: On its device.
        count: How often.
    """

    batch: SamBatch
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[SamBatch]:
        return iter([self.batch] * self.count)


class Clocked(Callback):
    """Tells a clock of every step, and stops the training when it has seen enough."""

    def __init__(self, clock: StepClock) -> None:
        self.clock = clock

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Start with the first step."""
        if trainer.global_step == 0:
            self.clock.begin()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Count a step."""
        if self.clock.step_done():
            trainer.should_stop = True


def build(case: GpuCase, setup: Setup) -> SamModule:
    """Return the module of a row, with random weights, on torch's current device."""
    method = "frozen" if case.method == cases.DECODER else case.method
    return build_module(
        Case(SAMFT, method, case.way == cases.CHECKPOINTING),
        arch=case.arch,
        side=setup.size,
        prompts=box_prompts() if case.prompts == cases.BOX else preset(case.prompts),
        compile_encoder=case.way == cases.COMPILE,
    )


def measure(case: GpuCase, setup: Setup) -> dict[str, Any]:  # Any: numbers and lists of them
    """Train in this process and return what it took."""
    keep_freed_memory()  # as `samft fit` does
    base = peak_mb(setup.place) if setup.device == "cpu" else 0.0
    torch.manual_seed(0)
    batch = setup.batch(case.images)
    with setup.place:
        module = build(case, setup)
        if case.method == cases.DECODER:
            given = torch.randn(case.images, *module.adapted.cut.shape)
            module.encode = lambda _: given  # type: ignore[method-assign]  # the encoder stands by
    clock = StepClock(_warmed(case, setup), base_mb=base)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SAMFT_CACHE"] = folder  # for the store of embeddings
        _trainer(case, setup, clock).fit(module, Again(batch, clock.most_steps))
    return clock.found() | _about(module)


def _warmed(case: GpuCase, setup: Setup) -> Setup:
    """Let a store of embeddings choose between reading and computing before it is timed."""
    more = _READS if case.method == cases.CACHED else 0
    return replace(setup, warm_up=max(setup.warm_up, more))


def _trainer(case: GpuCase, setup: Setup, clock: StepClock) -> Trainer:
    callbacks: list[Callback] = [NonFinite()] if case.way == cases.NON_FINITE else []
    return Trainer(
        accelerator="gpu" if setup.device == "cuda" else setup.device,
        devices=1,
        strategy=ShardedStrategy() if case.way == cases.SHARDED else "auto",
        precision=setup.precision,
        max_steps=clock.most_steps,
        callbacks=[*callbacks, Clocked(clock)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _about(module: SamModule) -> dict[str, Any]:  # Any: plain data
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    about: dict[str, Any] = {"trained": trained}
    if module.cached_encoder is not None:
        about |= {"read": module.cached_encoder.read, "computed": module.cached_encoder.computed}
    pieces = module.encoder.images_at_once, module.objective.max_prompts_per_step
    if any(pieces):  # memory ran out, and it went on with less at once
        about["images_at_once"], about["prompts_at_once"] = pieces
    return about


def can_estimate(case: GpuCase) -> bool:
    """Whether the planner knows what the row does."""
    usual = (cases.PLAIN, cases.CHECKPOINTING, cases.SHARDED, cases.NON_FINITE)
    return case.program == SAMFT and case.method != cases.DECODER and case.way in usual


def estimate(case: GpuCase, setup: Setup) -> float:
    """Return the planner's MiB: what a GPU's allocator reserves, or a CPU process takes.

    Runs on a CPU, also for a GPU.
    """
    shape = StepShape(
        images=case.images,
        objects=case.images * setup.objects,
        precision=setup.precision,
        device_type=setup.device,
    )
    found = estimate_memory(build(case, setup), shape, base=0)
    return (found.tensors if setup.device == "cuda" else found.total) / _MIB
