"""`UNetModule`: the U-Net as a LightningModule on samft's own batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from samft.data.geometry import logits_to_original
from samft.evaluation.unet.network import DEFAULT_FILTERS, UNet, UNetShape
from samft.evaluation.unet.separation import label_layers
from samft.evaluation.unet.targets import UNetTargets, batch_targets, sample_targets
from samft.losses.pixels import bce_loss
from samft.losses.reduction import mean_pixels, precise
from samft.losses.regions import dice_loss
from samft.metrics.cases import CaseMetric
from samft.metrics.instances import InstanceScores
from samft.metrics.overlap import OverlapScores
from samft.types import SamBatch

SCORE: Final = "val/score"
"""What decides which weights are the best."""
BORDER_WEIGHT: Final = 5.0
_WAYS = ("split", "whole")
_WEIGHT_DECAY = 1e-2
_POLY_POWER = 0.9


class UNetModule(LightningModule):
    """A U-Net that learns which pixels belong to which class, and where objects touch.

    The objective of a class is binary cross-entropy plus soft Dice over the batch, that of borders
    a cross-entropy in which they weigh more; pixels whose truth is unknown have no part in it.
    Validation logs `val/dice`, the Dice of the classes at the original resolution, all pixels of
    the split together, and the F1 of single objects (IoU of 50 %) cut apart at the borders,
    `val/f1_split`, and not, `val/f1_whole`; `val/score` is the mean of Dice and the better F1.
    Training adds nothing to the images: augmentation is the datamodule's.

    Args:
        num_channels: C, channels of the images.
        class_names: Classes of the data, in their order.
        image_size: S, the longer side of the images it sees, pixels; datamodules ask for it.
        filters: Width of the first level.
        lr: Learning rate of AdamW to begin with; whoever trains lowers it, see `lower_rate`.

    Source: loss and schedule as in nnU-Net, Isensee et al. 2021, Nature Methods 18; AdamW in place
    of SGD, because minutes are too short for the latter.
    """

    trim_to = 1
    """Datamodules cut off the padding that all images of a batch share."""

    def __init__(
        self,
        num_channels: int,
        class_names: Sequence[str],
        image_size: int,
        *,
        filters: int = DEFAULT_FILTERS,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(
            {
                "num_channels": num_channels,
                "class_names": list(class_names),
                "image_size": image_size,
                "filters": filters,
                "lr": lr,
            }
        )
        self.lr = lr
        self.shape = UNetShape(
            num_channels=num_channels,
            class_names=tuple(class_names),
            image_size=image_size,
            filters=filters,
        )
        self.net = UNet(self.shape)
        self.overlap = OverlapScores(self.shape.class_names)
        self.found = nn.ModuleDict({name: InstanceScores() for name in _WAYS})
        self.split = True
        """Whether its borders are good enough to cut objects apart; validation decides."""

    @property
    def image_size(self) -> int:
        """S, the longer side of the images it sees; datamodules ask for it."""
        return self.shape.image_size

    @property
    def num_parameters(self) -> int:
        """Trained numbers."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    def forward(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        """Return logits (B, classes + 1, h, w), see `UNet`."""
        logits: Tensor = self.net(images, input_sizes)
        return logits

    def targets(self, batch: SamBatch) -> UNetTargets:
        """Return what a batch teaches."""
        return batch_targets(
            batch, num_classes=self.shape.num_classes, border_px=self.shape.border_px
        )

    def training_step(self, batch: SamBatch, batch_idx: int) -> Tensor:  # noqa: ARG002  # Lightning
        """Return the loss of one batch."""
        logits = self(batch.images, batch.input_sizes)
        loss = unet_loss(logits, self.targets(batch))
        self.log("train/loss", loss.detach(), prog_bar=True, batch_size=len(batch.frames))
        return loss

    def validation_step(self, batch: SamBatch, batch_idx: int) -> None:  # noqa: ARG002  # Lightning
        """Score classes and objects in the original frame."""
        assert batch.samples is not None  # evaluation loaders keep the samples
        for image, sample in enumerate(batch.samples):
            frame = batch.frames[image]
            height, width = frame.input_size
            pixels = batch.images[image : image + 1, :, :height, :width]
            logits = self(pixels, batch.input_sizes[image : image + 1])
            masks, valid = sample_targets(sample, num_classes=self.shape.num_classes)
            answer = (logits_to_original(logits, frame)[0] > 0).cpu()
            self.overlap.update(answer[:-1], masks, case_id=sample.sample_id, valid=valid)
            classes, border = answer[:-1].numpy(), answer[-1].numpy()
            for name, used in zip(_WAYS, (border, np.zeros_like(border)), strict=True):
                metric = self.found[name]
                assert isinstance(metric, InstanceScores)  # the only kind put there
                layers = label_layers(classes, used)
                metric.update(layers, sample.layers.numpy(), case_id=sample.sample_id)

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        scores = self._computed(self.overlap)
        for name in self.shape.class_names:
            self.log(f"val/dice/{name}", scores.get(f"dice_pooled/{name}", math.nan))
        dice = scores.get("dice_pooled", math.nan)
        self.log("val/dice", dice, prog_bar=True)
        objects = [self._computed(self.found[name]).get("f1_50", math.nan) for name in _WAYS]
        for name, value in zip(_WAYS, objects, strict=True):
            self.log(f"val/f1_{name}", value)
        self.log(SCORE, _mean([dice, max(objects)]))

    def _computed(self, metric: nn.Module) -> dict[str, float]:
        """Return what a metric has gathered, and let it begin anew."""
        assert isinstance(metric, CaseMetric)  # the only kind there is
        scores = {name: float(value) for name, value in metric.compute().items()}
        metric.reset()
        return scores

    def configure_optimizers(self) -> Optimizer:
        """AdamW."""
        return AdamW(self.net.parameters(), lr=self.lr, weight_decay=_WEIGHT_DECAY)

    def lower_rate(self, progress: float) -> None:
        """Set the learning rate to what it is when a share of the training, 0 to 1, is done.

        The share, and not the step: how many steps there are in a time nobody knows before.
        """
        rate = self.lr * (1 - min(1.0, progress)) ** _POLY_POWER
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate


def unet_loss(logits: Tensor, targets: UNetTargets) -> Tensor:
    """Return the mean over classes and borders of what each has to pay.

    A class pays cross-entropy plus soft Dice of the whole batch: a class that an image has not
    would otherwise ask for nothing but silence. Borders are so few pixels that Dice, which hardly
    minds false alarms among few, would paint half of the image; they pay a cross-entropy in which
    their pixels weigh `BORDER_WEIGHT` times as much.

    Args:
        logits: (B, classes + 1, h, w).
        targets: Of the same images.
    """
    valid = _flat(targets.valid)
    truth, answer = _flat(targets.masks).float(), _flat(logits)
    parts = [loss(answer[:-1], truth, valid=valid) for loss in (bce_loss, dice_loss)]
    weight = torch.tensor(BORDER_WEIGHT, device=logits.device)
    pixels = F.binary_cross_entropy_with_logits(
        precise(answer[-1:]), _flat(targets.border).float(), pos_weight=weight, reduction="none"
    )
    return torch.cat([parts[0] + parts[1], mean_pixels(pixels, valid)]).mean()


def _flat(maps: Tensor) -> Tensor:
    """Turn (B, C, h, w) into (C, 1, B * h, w): all images of a channel as one."""
    return maps.transpose(0, 1).flatten(1, 2)[:, None]


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
