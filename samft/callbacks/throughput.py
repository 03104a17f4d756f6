"""How fast training goes and how much memory it takes, in the progress bar and the log."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from samft.types import SamBatch

_MEMORY = 0.9  # of the running means over steps


class Throughput(Callback):
    """Logs `speed/images_per_s`, `speed/objects_per_s` and `speed/memory_gb`, of this process.

    Speeds are running means over the steps, with everything that happens between them: loading,
    prompting, both passes and the update. Objects are those in the batch. Memory is the peak so
    far: allocated on a GPU, resident on a CPU.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._images = self._objects = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; what lies between epochs is no training."""
        self._last = None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # Any: Lightning's signature
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take the time of a step."""
        now, last = time.perf_counter(), self._last
        self._last = now
        if last is None or not isinstance(batch, SamBatch):
            return
        seconds = max(now - last, 1e-9)
        self._images = _follow(self._images, len(batch.frames) / seconds)
        self._objects = _follow(self._objects, batch.num_objects / seconds)
        pl_module.log("speed/images_per_s", self._images, prog_bar=True, batch_size=1)
        pl_module.log("speed/objects_per_s", self._objects, prog_bar=True, batch_size=1)
        pl_module.log("speed/memory_gb", peak_gb(pl_module.device), prog_bar=True, batch_size=1)


def peak_gb(device: torch.device) -> float:
    """Return the peak memory of this process in GiB: allocated on a GPU, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**30 if sys.platform == "darwin" else 2**20)


def _follow(mean: float, value: float) -> float:
    return value if mean == 0 else _MEMORY * mean + (1 - _MEMORY) * value
