"""How long a training took, kept in its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

STATE_KEY: Final = "TrainingTime"
"""Name of the state in a checkpoint's `callbacks`."""


class TrainingTime(Callback):
    """Measures the wall time of training without validation, over all parts of a resumed run.

    What a step waits for belongs to it: loading, embeddings that are computed in the first epoch.
    The checkpoints keep `seconds`, the number of `devices` that computed beside each other, and
    the name of the `device`, so that `samft baseline` can give another model the same time.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None
        self._paused = False
        self._devices, self._device = 1, "cpu"

    @property
    def state_key(self) -> str:
        """Name of the state in a checkpoint."""
        return STATE_KEY

    @property
    def seconds(self) -> float:
        """Seconds of training until now."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._before + running

    def state_dict(self) -> dict[str, Any]:  # Any: numbers and a name
        """Return what checkpoints keep."""
        return {"seconds": self.seconds, "devices": self._devices, "device": self._device}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from what a checkpoint says."""
        self._before = float(state_dict["seconds"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._devices = int(trainer.world_size)
        self._device = device_name(pl_module.device)
        self._since = time.monotonic()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._paused = self._since is not None
        self._stop()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on if it was going."""
        if self._paused:
            self._since, self._paused = time.monotonic(), False

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._stop()

    def _stop(self) -> None:
        self._before, self._since = self.seconds, None


def recorded_time(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `TrainingTime` left in a checkpoint, `None` if it was not there.

    Args:
        checkpoint: As `samft.checkpoints.read_checkpoint` returns it.
    """
    callbacks = checkpoint.get("callbacks")
    found = callbacks.get(STATE_KEY) if isinstance(callbacks, Mapping) else None
    if not isinstance(found, Mapping):
        return None
    seconds, devices = found.get("seconds"), found.get("devices")
    if not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        return None
    if not isinstance(devices, int) or devices < 1 or not isinstance(found.get("device"), str):
        return None
    return dict(found)


def device_name(device: torch.device) -> str:
    """Return what a device is called: `cpu`, or the model of a GPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return device.type
