"""Gradients over several batches or processes that are the mean over objects, not over batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch import distributed as dist


class _Trainer(Protocol):
    """The two numbers of a Lightning trainer that say how many losses one step is made of."""

    @property
    def accumulate_grad_batches(self) -> int: ...
    @property
    def world_size(self) -> int: ...


class ObjectMean:
    """Makes the gradient of an optimiser step the mean over all objects that took part in it.

    A trainer averages the losses of the batches it accumulates and of the processes it runs in,
    each a mean over its own objects: the one object of a batch then counts as much as all forty of
    another together, and batches without any dilute the rest. Here every loss is summed over its
    objects, and the gradients are divided by the number of objects before they are clipped. A step
    of one batch in one process is left as it is.
    """

    def __init__(self) -> None:
        self._count = 0.0

    def weigh(self, loss: Tensor, count: float, *, batch_idx: int, trainer: _Trainer) -> Tensor:
        """Return the loss to give to the trainer.

        Args:
            loss: Scalar, the mean over the batch's objects; 0 where there is none.
            count: Number of objects it is the mean of, or the sum of their weights.
            batch_idx: Number of the batch in the epoch.
            trainer: The trainer.
        """
        if _num_losses(trainer) == 1:
            return loss
        # Where Lightning starts over with the gradients; a step that broke off leaves nothing.
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._count = 0.0
        self._count += count
        return loss * count

    def divide(self, parameters: Iterable[nn.Parameter], *, trainer: _Trainer) -> None:
        """Divide the gradients by the number of objects, of all processes.

        To be called from `on_before_optimizer_step`: gradients are averaged over processes and
        free of the scale of float16 by then, and not yet clipped.

        Args:
            parameters: What is about to be updated.
            trainer: The trainer.
        """
        num_losses = _num_losses(trainer)
        if num_losses == 1:
            return
        updated = list(parameters)
        total = self._count
        if trainer.world_size > 1:
            counts = torch.tensor(total, device=updated[0].device)
            dist.all_reduce(counts)
            total = float(counts)
        # The trainer divides by the number of batches also when the epoch ends before them all.
        factor = num_losses / total if total else 0.0
        for parameter in updated:
            if parameter.grad is not None:
                parameter.grad.mul_(factor)


def _num_losses(trainer: _Trainer) -> int:
    return trainer.accumulate_grad_batches * trainer.world_size
