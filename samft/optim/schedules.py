"""Learning-rate schedules: warm-up per step, then one of several ways down."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from samft.optim.groups import build_optimizer
from samft.optim.settings import OptimizerSettings

# What is left of the way from the peak down to the end when `progress` (0 to 1) of it is done.
_WAYS_DOWN: dict[str, Callable[[float, OptimizerSettings], float]] = {
    "cosine": lambda progress, _: 0.5 * (1 + math.cos(math.pi * progress)),
    "linear": lambda progress, _: 1 - progress,
    "poly": lambda progress, settings: (1 - progress) ** settings.poly_power,
}


def lightning_optimizers(
    model: nn.Module, settings: OptimizerSettings, *, total_steps: float, batches_per_epoch: int
) -> tuple[list[Optimizer], list[Any]]:
    """Return what `LightningModule.configure_optimizers` is to return.

    Args:
        model: What is trained, see `build_optimizer`.
        settings: Method, rates and schedule.
        total_steps: Optimiser steps of the whole run; infinity where no number is set.
        batches_per_epoch: Training batches of one epoch.

    Returns:
        The optimiser in a list, and its schedules in Lightning's dictionaries.

    Raises:
        ConfigError: as `build_optimizer` does.
    """
    optimizer = build_optimizer(model, settings)
    if settings.schedule != "plateau":
        schedule = build_schedule(optimizer, settings, total_steps=total_steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
    plateau = _plateau(optimizer, settings)
    steps = _warmup(settings, total_steps)
    # Unlike a LambdaLR, this one multiplies what it finds, so that drops last.
    warmup = LinearLR(optimizer, start_factor=1 / (steps + 1), total_iters=steps)
    return [optimizer], [
        {"scheduler": warmup, "interval": "step"},
        {
            "scheduler": plateau,
            # Once per epoch, but as its last step: Lightning's "epoch" comes after the epoch's
            # checkpoint is written, and a resumed run would never hear of that epoch's score.
            "interval": "step",
            "frequency": batches_per_epoch,
            "monitor": settings.plateau_monitor,
            "reduce_on_plateau": True,
        },
    ]


def build_schedule(
    optimizer: Optimizer, settings: OptimizerSettings, *, total_steps: float
) -> LambdaLR:
    """Return the schedule that multiplies every group's rate by `rate_curve`, step by step.

    Args:
        optimizer: What to schedule.
        settings: Warm-up length and shape.
        total_steps: Optimiser steps of the whole run.
    """
    return LambdaLR(optimizer, rate_curve(settings, total_steps=total_steps))


def rate_curve(settings: OptimizerSettings, *, total_steps: float) -> Callable[[int], float]:
    """Return the factor on the peak rate as a function of the step, 0 to 1.

    Of `plateau` it knows the warm-up only: the drops depend on scores.
    """
    warmup = _warmup(settings, total_steps)
    way_down = _WAYS_DOWN.get(settings.schedule)
    end = settings.end_factor

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if settings.schedule == "step":
            places = (settings.step_first, settings.step_second)
            return settings.step_factor ** sum(step >= place * total_steps for place in places)
        if way_down is None:
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return end + (1 - end) * way_down(progress, settings)

    return factor


def _warmup(settings: OptimizerSettings, total_steps: float) -> int:
    if math.isinf(total_steps):
        return settings.warmup_steps
    # A run shorter than its warm-up would never reach the peak rate.
    return min(settings.warmup_steps, max(1, int(total_steps) // 5))


def _plateau(optimizer: Optimizer, settings: OptimizerSettings) -> ReduceLROnPlateau:
    return ReduceLROnPlateau(
        optimizer,
        mode=settings.plateau_mode,
        factor=settings.plateau_factor,
        patience=settings.plateau_patience,
        min_lr=[group["lr"] * settings.end_factor for group in optimizer.param_groups],
        eps=0.0,  # torch's own would keep the slow layers of a decayed encoder from slowing down
    )
