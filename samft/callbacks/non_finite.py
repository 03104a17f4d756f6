"""What happens when a loss is not a number any more: stop, or leave the step out."""

from __future__ import annotations

import logging
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, distributed
from torch.amp.grad_scaler import GradScaler
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from samft.errors import ConfigError, TrainingError

_log = logging.getLogger(__name__)
_SHOWN = 8  # sample ids in a message


class NonFinite(Callback):
    """Looks at the loss and the gradients before every update of the weights.

    One update with a NaN in it spoils all weights for good.

    Args:
        action: `stop` ends the run with an error that names the samples; the last checkpoint is of
            before. `skip` leaves the weights as they are in that step, and goes on.
        max_skipped: With `skip`, stop after so many steps in the whole run.
    """

    def __init__(self, action: Literal["stop", "skip"] = "stop", max_skipped: int = 50) -> None:
        if action not in ("stop", "skip") or max_skipped < 1:
            raise ConfigError(
                "action must be stop or skip, and max_skipped at least 1",
                where="non_finite",
                found=f"{action}, {max_skipped}",
            )
        self.action = action
        self.max_skipped = max_skipped
        self.skipped = 0
        self._ids: list[str] = []  # of the batches of this step
        self._bad_ids: list[str] = []  # of those whose loss is not finite
        self._batch_ids: list[str] = []

    def state_dict(self) -> dict[str, int]:
        """Remember how many steps were left out."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Restore how many steps were left out."""
        self.skipped = state_dict["skipped"]

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # Any: Lightning's signature
        batch_idx: int,
    ) -> None:
        """Note which samples take part in the step."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._ids, self._bad_ids = [], []
        self._batch_ids = [str(name) for name in getattr(batch, "sample_ids", ())]
        self._ids += self._batch_ids

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Look at the loss of a batch."""
        if not bool(torch.isfinite(loss.detach()).all()):
            self._bad_ids += self._batch_ids or ["(samples without names)"]

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Stop, or take the gradients away, if the update would spoil the weights.

        Raises:
            TrainingError: if the run is to stop, or too many steps were left out.
        """
        bad = bool(self._bad_ids) or not _finite_gradients(trainer, optimizer)
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce_boolean_decision(bad, all=False)
        if not bad:
            return
        names = self._names(trainer)
        step = trainer.global_step + 1
        if self.action == "stop":
            raise self._error(f"the loss of step {step} is not a number", names)
        self.skipped += 1
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None  # without one, an optimiser leaves a parameter alone
        _log.warning(
            "step %d is left out: its loss is not a number; %s (%d of at most %d)",
            *(step, names, self.skipped, self.max_skipped),
        )
        if self.skipped >= self.max_skipped:
            raise self._error(f"{self.skipped} steps were left out", names)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many steps were left out."""
        if self.skipped and trainer.is_global_zero:
            _log.warning("%d steps were left out, with a loss that is no number", self.skipped)

    def _names(self, trainer: Trainer) -> str:
        """Return the samples of the step in words, those of all processes."""
        mine = (self._bad_ids, self._ids)
        everyone: list[Any] = [mine]  # Any: what torch gathers
        if trainer.world_size > 1 and distributed.is_initialized():
            everyone = [None] * trainer.world_size
            distributed.all_gather_object(everyone, mine)
        bad = [name for part in everyone for name in part[0]]
        ids = bad or [name for part in everyone for name in part[1]]
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        return f"samples: {', '.join(ids[:_SHOWN])}{more}"

    def _error(self, what: str, names: str) -> TrainingError:
        other = "" if self.action == "skip" else "non_finite.action skip, "
        return TrainingError(
            what,
            where=names,
            fix=f"look at these with samft check; else {other}a lower optimizer.lr, "
            "trainer.gradient_clip_val 1.0 or trainer.precision bf16-mixed help",
        )


def _finite_gradients(trainer: Trainer, optimizer: Optimizer) -> bool:
    """Whether all gradients are finite; in float16 the scaler looks after that itself."""
    if isinstance(getattr(trainer.precision_plugin, "scaler", None), GradScaler):
        return True
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    # Of sharded parameters the part that is here: what is found is compared over processes anyway.
    own = [each.to_local() if isinstance(each, DTensor) else each for each in gradients]
    own = [each for each in own if each.numel()]
    if not own:
        return True
    return bool(torch.isfinite(torch.nn.utils.get_total_norm(own, norm_type=float("inf"))))
