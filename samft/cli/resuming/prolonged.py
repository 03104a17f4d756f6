"""What a longer run does to the learning rate."""

from __future__ import annotations

import logging
import math

from lightning.pytorch import Callback, LightningModule, Trainer

from samft.module import SamModule
from samft.optim import rate_curve

_log = logging.getLogger(__name__)


class SayProlonged(Callback):
    """Says, before the first step, how the schedule of a run of another length goes on.

    Args:
        old_epochs: `max_epochs` before; `None` or -1 for no limit.
        old_steps: `max_steps` before; -1 for no limit.
    """

    def __init__(self, old_epochs: int | None, old_steps: int | None) -> None:
        self.old_epochs = old_epochs
        self.old_steps = old_steps

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See the class."""
        before, now = self._old_total(trainer), trainer.estimated_stepping_batches
        if not trainer.is_global_zero or not isinstance(pl_module, SamModule) or not before:
            return
        settings = pl_module.optimizer_settings
        step = trainer.global_step
        if settings.schedule in ("constant", "plateau"):
            number = "no set number of" if math.isinf(now) else f"{now}"
            _log.warning("the run now has %s steps instead of %d", number, before)
            return
        old = rate_curve(settings, total_steps=before)(step)
        new = rate_curve(settings, total_steps=now)(step)
        _log.warning(
            "the run now has %d steps instead of %d, and the %s schedule is stretched to them: "
            "at step %d the learning rate goes from %.2g to %.2g of its peak, so that the result "
            "is not that of a run which was as long from the beginning",
            *(now, before, settings.schedule, step, old, new),
        )

    def _old_total(self, trainer: Trainer) -> int:
        batches = trainer.num_training_batches
        if batches == float("inf"):
            return self.old_steps or 0
        per_epoch = -(-int(batches) // trainer.accumulate_grad_batches)
        limits = [self.old_steps] if self.old_steps and self.old_steps > 0 else []
        if self.old_epochs and self.old_epochs > 0:
            limits.append(self.old_epochs * per_epoch)
        return min(limits, default=0)
