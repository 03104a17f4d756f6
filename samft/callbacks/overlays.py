"""Pictures of a few validation images after each epoch: prompt, truth, zero-shot, tuned."""

from __future__ import annotations

import shutil

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import NDArray
from PIL import Image

from samft.callbacks.pictures import write_or_warn
from samft.callbacks.run_folder import run_folder
from samft.errors import ConfigError
from samft.inference.overlay import Marks, draw_marks, draw_masks, picture, side_by_side, stack_rows
from samft.inference.predictions import ImagePrediction, decode_rle
from samft.module import SamModule
from samft.prompts.selection import object_areas
from samft.types import SamBatch


class Overlays(Callback):
    """Draws `overlays/epoch_<n>.png` in the run folder, and `best.png` for the best epoch so far.

    Each row is one validation image with the prompts given, the truth, the answer before training
    and the answer now. The images are spread evenly over the validation split, and hold objects
    where any near them do.

    Args:
        images: How many images to draw; 0 switches the pictures off.
        objects: Most objects drawn per image, the largest first.
        monitor: Score that decides which epoch is the best.
        every_n_epochs: Draw after every n-th epoch.
    """

    def __init__(
        self,
        images: int = 4,
        objects: int = 12,
        monitor: str = "val/iou",
        every_n_epochs: int = 1,
    ) -> None:
        if images < 0 or objects < 1 or every_n_epochs < 1:
            raise ConfigError(
                "images must be at least 0, objects and every_n_epochs at least 1",
                where="overlays",
                found=f"images {images}, objects {objects}, every_n_epochs {every_n_epochs}",
            )
        self.images = images
        self.objects = objects
        self.monitor = monitor
        self.every_n_epochs = every_n_epochs
        self._batches = self._count = 0
        self._chosen: dict[int, int] = {}  # batch of each row
        self._now: dict[int, list[ImagePrediction]] = {}
        self._before: dict[int, list[ImagePrediction]] = {}
        self._truth: dict[int, SamBatch] = {}
        self._best = -float("inf")

    def state_dict(self) -> dict[str, float]:
        """Remember the best score, so that a resumed run does not replace its picture."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore the best score."""
        self._best = state_dict["best"]

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find out how many rows to draw of how many batches."""
        batches = sum(int(count) for count in trainer.num_val_batches)
        if trainer.sanity_checking:
            batches = sum(int(count) for count in trainer.num_sanity_val_batches)
        self._batches = batches
        self._count = min(self.images, batches) if self._wanted(trainer) else 0
        self._now.clear()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: SamBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Segment the chosen batches once more, for the picture."""
        if not isinstance(pl_module, SamModule) or not self._choose(batch_idx, batch):
            return
        shown = self._largest(batch)
        with torch.no_grad():
            self._now[batch_idx] = pl_module.predict_step(shown, batch_idx)
        if trainer.sanity_checking:
            self._before[batch_idx] = self._now[batch_idx]
        self._truth[batch_idx] = shown.to("cpu")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture, now that the module has logged the scores of this epoch."""
        run = run_folder(trainer)
        if trainer.sanity_checking or not self._now or run is None:
            return
        folder = run / "overlays"
        target = folder / f"epoch_{trainer.current_epoch:03d}.png"
        rows = [row for index in sorted(self._now) for row in self._rows(index)]
        drawn = write_or_warn(
            target, lambda path: Image.fromarray(stack_rows(rows)).save(path, format="PNG")
        )
        score = float(trainer.callback_metrics.get(self.monitor, torch.tensor(self._best)))
        if drawn and score >= self._best:
            self._best = score
            write_or_warn(folder / "best.png", lambda path: shutil.copyfile(target, path))

    def _choose(self, batch_idx: int, batch: SamBatch) -> bool:
        """Take the first batch with objects of each of `count` equal parts of the split."""
        row = batch_idx * self._count // max(1, self._batches)
        if self._count == 0 or row >= self._count:
            return False
        now = self._chosen.get(row, batch_idx)
        if now != batch_idx:
            if self._holds_objects(now, batch):
                return False
            for kept in (self._now, self._before, self._truth):
                kept.pop(now, None)
        self._chosen[row] = batch_idx
        return True

    def _holds_objects(self, chosen: int, other: SamBatch) -> bool:
        """Whether a chosen batch is as good as another one."""
        return self._truth[chosen].num_objects > 0 or other.num_objects == 0

    def _wanted(self, trainer: Trainer) -> bool:
        fitting = trainer.state.fn == TrainerFn.FITTING
        if not fitting or not trainer.is_global_zero or trainer.logger is None:
            return False
        return trainer.sanity_checking or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def _largest(self, batch: SamBatch) -> SamBatch:
        order = object_areas(batch).argsort(descending=True)
        kept = [
            row
            for image in range(len(batch.sample_ids))
            for row in order[batch.image_index[order] == image][: self.objects].tolist()
        ]
        return batch.select(torch.tensor(sorted(kept), device=order.device, dtype=torch.int64))

    def _rows(self, index: int) -> list[NDArray[np.uint8]]:
        batch, now = self._truth[index], self._now[index]
        before = self._before.get(index)
        assert batch.samples is not None  # validation loaders keep the samples
        rows = []
        for image, sample in enumerate(batch.samples):
            plain = picture(sample.image)
            chosen = batch.object_value[batch.image_index == image].long() - 1
            truth = list(sample.masks(chosen).numpy())
            panels = [
                (sample.sample_id[-34:], _with_prompts(plain, now[image])),
                ("truth", draw_masks(plain, truth)),
            ]
            if before is not None:
                panels.append(("zero-shot", _with_masks(plain, before[image])))
            panels.append(("tuned", _with_masks(plain, now[image])))
            rows.append(side_by_side(panels))
        return rows


def _with_masks(image: NDArray[np.uint8], prediction: ImagePrediction) -> NDArray[np.uint8]:
    return draw_masks(image, [decode_rle(item.rle) for item in prediction.objects])


def _with_prompts(image: NDArray[np.uint8], prediction: ImagePrediction) -> NDArray[np.uint8]:
    for item in prediction.objects:
        image = draw_marks(image, Marks.from_prompt(item.prompt))
    return image
