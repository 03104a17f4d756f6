"""The curves of a run as one picture, redrawn after every epoch."""

from __future__ import annotations

import io
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from samft.callbacks.pictures import write_or_warn
from samft.callbacks.run_folder import run_folder
from samft.module import SamModule

_FILE = "curves.png"


class Curves(Callback):
    """Draws `curves.png` in the run folder: the loss, and each score beside its zero-shot value.

    The loss is the mean of each epoch, also of one in whose middle the run was stopped.
    """

    def __init__(self) -> None:
        self._losses: dict[int, float] = {}
        # A tensor, read once an epoch: reading it every step would make a GPU wait every step.
        self._sum: Tensor | float = 0.0
        self._count = 0

    def state_dict(self) -> dict[str, Any]:  # Any: numbers and a table
        """Remember the losses, so that a resumed run draws them too."""
        losses = dict(self._losses)
        return {"losses": losses, "sum": float(self._sum), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the losses."""
        self._losses = dict(state_dict["losses"])
        # Older checkpoints have no sum.
        self._sum, self._count = state_dict.get("sum", 0.0), state_dict.get("count", 0)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # Any: Lightning's signature
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the loss of a step."""
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None:
            self._sum = self._sum + loss.detach().double()
            self._count += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        if self._count:
            self._losses[trainer.current_epoch] = float(self._sum) / self._count
        self._sum, self._count = 0.0, 0
        folder = run_folder(trainer)
        if trainer.is_global_zero and isinstance(pl_module, SamModule) and folder is not None:
            picture = draw(self._losses, pl_module.history, pl_module.zero_shot)
            write_or_warn(folder / _FILE, lambda path: path.write_bytes(picture))


def draw(
    losses: dict[int, float], history: list[dict[str, float]], zero_shot: dict[str, float]
) -> bytes:
    """Return a PNG of the loss and of the overlap scores by epoch.

    Args:
        losses: Mean training loss of each epoch.
        history: Scores of each validated epoch, with `epoch`.
        zero_shot: Scores before training; drawn as dashed lines.
    """
    # Not pyplot: it would choose a window system and keep every figure alive.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(list(losses), list(losses.values()), marker=".", color="black")
    left.set(title="training loss", xlabel="epoch")
    names = [name for name in (history[-1] if history else {}) if name.startswith("val/iou_")]
    for number, name in enumerate(names):
        points = [(entry["epoch"], entry[name]) for entry in history if name in entry]
        colour = f"C{number}"
        right.plot(*zip(*points, strict=True), marker=".", color=colour, label=name[4:])
        if name in zero_shot:
            right.axhline(zero_shot[name], color=colour, linestyle="--", linewidth=1)
    right.set(title="validation IoU (dashed: zero-shot)", xlabel="epoch", ylim=(0, 1))
    if names:
        right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
