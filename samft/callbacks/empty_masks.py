"""Stop a run that answers with empty masks, before it costs hours."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from samft.errors import ConfigError, TrainingError

SCORE = "train/mask_iou"
_MEMORY = 0.9  # of the running mean over steps: one lucky batch is no life sign


class StopEmptyMasks(Callback):
    """Stops training when the masks have next to no overlap with the objects after many steps.

    Focal and Dice loss have a bad resting place: with every mask empty, both change little.
    Models that start from nothing can fall into it and rarely come out.

    Args:
        after_steps: Optimiser steps after which to judge, once; 0 switches the check off.
        least_iou: Mean IoU of the masks trained that is enough to go on.
    """

    def __init__(self, after_steps: int = 300, least_iou: float = 0.02) -> None:
        if after_steps < 0 or not 0 <= least_iou <= 1:
            raise ConfigError(
                "after_steps must be at least 0 and least_iou from 0 to 1",
                where="empty_masks",
                found=f"after_steps {after_steps}, least_iou {least_iou}",
            )
        self.after_steps = after_steps
        self.least_iou = least_iou
        self._mean: float | None = None

    def state_dict(self) -> dict[str, float | None]:
        """Remember the running mean."""
        return {"mean": self._mean}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Restore the running mean."""
        self._mean = state_dict["mean"]

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # Any: Lightning's signature
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Follow the score, and judge it at the one step.

        Raises:
            TrainingError: if the masks are still empty.
        """
        if SCORE not in trainer.callback_metrics or trainer.global_step > self.after_steps:
            return
        iou = float(trainer.callback_metrics[SCORE])
        self._mean = iou if self._mean is None else _MEMORY * self._mean + (1 - _MEMORY) * iou
        if trainer.global_step == self.after_steps and self._mean < self.least_iou:
            raise TrainingError(
                f"after {self.after_steps} steps the masks are still empty",
                where=SCORE,
                found=f"{self._mean:.3f}",
                expected=f"at least {self.least_iou:g}",
                fix="from random weights: loss.balanced_bce 1.0, gradient_clip_val 1.0 and "
                "prompts.rounds 0 help; else lower optimizer.lr, or check the masks (or raise "
                "empty_masks.after_steps)",
            )
