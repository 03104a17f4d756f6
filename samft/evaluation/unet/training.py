"""Training the U-Net on a run's data until its time is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor

from samft.callbacks.duration import TrainingTime, device_name
from samft.data.split_datamodule import SplitDataModule
from samft.errors import ConfigError, TrainingError
from samft.evaluation.unet.module import SCORE, UNetModule

Show = Callable[[float, int], None]
"""Told the share of a budget that is used up, and the step."""
Keep = Callable[["Trained"], None]
"""Given the U-Net as it is whenever it has validated better than before."""

_VALIDATIONS: Final = 10
_CLIP = 12.0  # of the gradient's norm, as in nnU-Net


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """When training ends: after so many seconds or steps, whichever comes first.

    Args:
        seconds: Wall time without validation; `None` for no limit.
        steps: Optimiser steps; `None` for no limit.

    Raises:
        ConfigError: if there is no limit at all, or one is not above 0.
    """

    seconds: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        given = [limit for limit in (self.seconds, self.steps) if limit is not None]
        if not given or any(not math.isfinite(limit) or limit <= 0 for limit in given):
            raise ConfigError(
                "the U-Net needs to know for how long to train",
                where="--minutes, --max-steps",
                found=f"{self.seconds} seconds, {self.steps} steps",
                expected="at least one limit above 0",
            )

    def progress(self, seconds: float, steps: int) -> float:
        """Return the share, from 0, that is used up."""
        spent = 0.0 if self.seconds is None else seconds / self.seconds
        return max(spent, 0.0 if self.steps is None else steps / self.steps)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trained:
    """A U-Net after its training.

    Args:
        module: With the best weights, on the CPU, in evaluation mode; what `Keep` is given is
            still being trained.
        seconds: Wall time of the training without validation.
        total_seconds: With validation.
        steps: Optimiser steps.
        epochs: Passes over the training split.
        best_step: After how many steps the weights were the best.
        best: The scores of the best weights; empty without validation.
        history: The scores of every validation, with `step` and `seconds`.
        device: What it was trained on.
    """

    module: UNetModule
    seconds: float
    total_seconds: float
    steps: int
    epochs: float
    best_step: int
    best: dict[str, float]
    history: list[dict[str, float]]
    device: str


class StayInBudget(TrainingTime):
    """Lowers the learning rate as the budget is used up, and then stops.

    Args:
        budget: See `Budget`.
        show: Told after every step what share of the budget is used up, 0 to 1, and the step.
    """

    def __init__(self, budget: Budget, show: Show | None = None) -> None:
        super().__init__()
        self.budget = budget
        self.show = show

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ARG002  # Any: Lightning's signature
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Set the learning rate."""
        assert isinstance(pl_module, UNetModule)  # trained by `train_unet` alone
        pl_module.lower_rate(self.budget.progress(self.seconds, trainer.global_step))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  # Lightning's signature
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Stop when the budget is used up; Lightning validates once more."""
        share = self.budget.progress(self.seconds, trainer.global_step)
        if self.show is not None:
            self.show(min(1.0, share), trainer.global_step)
        if share >= 1:
            trainer.should_stop = True


class KeepBest(Callback):
    """Keeps the weights of the best validation in memory.

    Args:
        clock: Knows the seconds of training.
    """

    def __init__(self, clock: TrainingTime) -> None:
        self.on_best: Callable[[], None] | None = None
        """Called when the weights that the module has are the best so far."""
        self.history: list[dict[str, float]] = []
        self.best_step = 0
        self._clock = clock
        self._score = -math.inf
        self._state: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the scores, and the weights if they are the best so far."""
        scores = {
            name.removeprefix("val/"): float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/")
        }
        step = trainer.global_step
        self.history.append({"step": step, "seconds": round(self._clock.seconds, 3), **scores})
        score = float(trainer.callback_metrics[SCORE])
        if score > self._score or not self._state:
            # A split without any object has no score; its first weights are as good as the next.
            self._score = -math.inf if math.isnan(score) else score
            self.best_step = step
            self._state = {
                name: value.detach().to("cpu", copy=True)
                for name, value in pl_module.state_dict().items()
            }
            if self.on_best is not None:
                self.on_best()

    @property
    def row(self) -> dict[str, float] | None:
        """The scores of the best validation; `None` if there was none."""
        return next((row for row in self.history if row["step"] == self.best_step), None)

    def restore(self, module: LightningModule, step: int) -> None:
        """Give a module the best weights; without validation the last ones stay.

        Args:
            module: What was trained.
            step: The last step.
        """
        if self._state:
            module.load_state_dict(self._state)
        else:
            self.best_step = step


def train_unet(
    module: UNetModule,
    data: SplitDataModule,
    budget: Budget,
    *,
    device: torch.device | None = None,
    precision: str | None = None,
    seed: int = 0,
    show: Show | None = None,
    keep: Keep | None = None,
) -> Trained:
    """Train on a datamodule's training split and keep the weights that validate best.

    With a limit in steps alone the result depends on the seed only, with one in time also on the
    speed of the machine.

    Args:
        module: What to train; its weights are drawn by the caller.
        data: Split, order and augmentation; the run's own.
        budget: When to stop.
        device: Where; default: what the Trainer finds.
        precision: Lightning's name of it; default: 32 bits.
        seed: Of what is random beside the data.
        show: See `StayInBudget`.
        keep: Given the best so far after every validation that was the best.

    Raises:
        TrainingError: if the weights are no longer numbers at the end.
        SamftError: for what is wrong with the data.
    """
    seed_everything(seed, verbose=False)
    clock = StayInBudget(budget, show)
    best = KeepBest(clock)
    # In this order: the clock starts again when the best weights have been copied.
    trainer = _trainer(budget, device, precision, callbacks=[best, clock])
    start = time.monotonic()

    def so_far() -> Trained:
        row = best.row
        module.split = row is None or not row["f1_split"] < row["f1_whole"]
        return Trained(
            module=module,
            seconds=clock.seconds,
            total_seconds=time.monotonic() - start,
            steps=trainer.global_step,
            epochs=round(trainer.global_step / trainer.num_training_batches, 2),
            best_step=best.best_step,
            best=row or {},
            history=best.history,
            device=device_name(trainer.strategy.root_device),
        )

    if keep is not None:
        best.on_best = lambda: keep(so_far())
    trainer.fit(module, datamodule=data)
    found = so_far()
    best.restore(module, trainer.global_step)
    found = replace(found, best_step=best.best_step)
    module.to("cpu").eval()
    _check_finite(module, trainer.global_step)
    return found


def _trainer(
    budget: Budget,
    device: torch.device | None,
    precision: str | None,
    *,
    callbacks: list[Callback],
) -> Trainer:
    return Trainer(
        **_placed(device),
        **_validating(budget),
        max_epochs=-1,
        precision=precision,  # type: ignore[arg-type]  # Lightning lists the names, and checks
        gradient_clip_val=_CLIP,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,  # it knows epochs, not budgets
        callbacks=callbacks,
    )


def _placed(device: torch.device | None) -> dict[str, Any]:  # Any: arguments of several types
    """Return the Trainer's words for one device."""
    if device is None:
        return {"accelerator": "auto", "devices": 1}
    if device.type == "cuda":
        return {"accelerator": "gpu", "devices": [device.index or 0]}
    return {"accelerator": device.type, "devices": 1}


def _validating(budget: Budget) -> dict[str, Any]:  # Any: as above
    """Validate ten times, by time where that is what ends the training."""
    if budget.seconds is not None:
        every: timedelta | int = timedelta(seconds=budget.seconds / _VALIDATIONS)
    else:
        assert budget.steps is not None  # one of them is given
        every = max(1, math.ceil(budget.steps / _VALIDATIONS))
    return {"val_check_interval": every, "check_val_every_n_epoch": None}


def _check_finite(module: UNetModule, steps: int) -> None:
    bad = [n for n, value in module.state_dict().items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise TrainingError(
            "the U-Net diverged: its weights are no longer numbers",
            where=bad[0],
            found=f"{len(bad)} such tensors after {steps} steps",
            fix="train it in full precision, with --trainer.precision 32-true",
        )
