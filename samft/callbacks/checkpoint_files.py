"""How a trainer writes and reads checkpoints: whole, checked, and without ending a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils import _pytree as pytree

from samft.errors import CheckpointError
from samft.models.torch_file import read_torch_file
from samft.safe_checkpoint import save_safely

_log = logging.getLogger(__name__)


class SafeCheckpointIO(CheckpointIO):
    """Writes checkpoints by `save_safely`, and reads them without trusting them.

    A file that cannot be written is reported and counted; the one before it stays, and training
    goes on. Whoever gave the file its task asks `failed` and `failures`.
    """

    def __init__(self) -> None:
        self.failures = 0  # since the last one that went well
        self.error: Exception | None = None
        self._failed: set[Path] = set()

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],  # Any: Lightning's layout is untyped
        path: str | Path,
        storage_options: Any | None = None,  # Any: Lightning's signature
    ) -> None:
        """Write a checkpoint, or say why not."""
        place = Path(path)
        try:
            save_safely(checkpoint, place)
        except (OSError, CheckpointError) as error:
            self.failures += 1
            self.error = error
            self._failed.add(place)
            kept = "the one before it is kept" if place.is_file() else "there is none before it"
            _log.warning("%s could not be written: %s; %s", place, reason_of(error), kept)
        else:
            self.failures = 0
            self._failed.discard(place)

    def failed(self, path: str | Path) -> bool:
        """Whether the last attempt to write a file failed."""
        return Path(path) in self._failed

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,  # Any: Lightning's signature
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint as plain data and tensors on the CPU; there is no other way.

        Raises:
            CheckpointError: if it is unreadable, or holds more than that.
        """
        found = read_torch_file(Path(path))
        if not isinstance(found, dict):
            raise CheckpointError("this is not a training checkpoint", where=path)
        # Not mapped: what is trained must not hang on a file that will be replaced.
        loaded: dict[str, Any] = pytree.tree_map_only(Tensor, torch.clone, found)
        return loaded

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class BestCheckpoint(ModelCheckpoint):
    """A `ModelCheckpoint` that counts as best only what is really on disk.

    After a disk that was full, a later epoch that beats the file which is there is saved again.
    Where its folder was moved, it still knows the best score.
    """

    def _update_best_and_save(
        self, current: Tensor, trainer: Trainer, monitor_candidates: dict[str, Tensor]
    ) -> None:
        before = self.state_dict() | {"best_k_models": dict(self.best_k_models)}
        super()._update_best_and_save(current, trainer, monitor_candidates)
        files = trainer.strategy.checkpoint_io
        failed = isinstance(files, SafeCheckpointIO) and files.failed(self._last_checkpoint_saved)
        if trainer.strategy.broadcast(failed):  # only one process writes
            super().load_state_dict(before)
            self.current_score = before["current_score"]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # Any: Lightning's layout
        """Restore the best score, with the files where they are now."""
        old, new = state_dict.get("dirpath"), self.dirpath
        if old and new and str(old) != str(new):
            names = [Path(path).name for path in state_dict.get("best_k_models", {})]
            if names and all((Path(new) / name).is_file() for name in names):
                state_dict = _moved(state_dict, str(new))
        super().load_state_dict(state_dict)
        self.current_score = state_dict.get("current_score")  # which Lightning leaves out


def reason_of(error: Exception) -> str:
    """Return what went wrong with a file, in a few words."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return getattr(error, "found", None) or str(error).splitlines()[0]


def _moved(state: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the state with its files in another folder."""

    def place(path: str) -> str:
        return str(Path(folder) / Path(path).name) if path else path

    changed = dict(state)
    changed["dirpath"] = folder
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        changed[key] = place(state.get(key, ""))
    changed["best_k_models"] = {place(k): v for k, v in state["best_k_models"].items()}
    return changed
