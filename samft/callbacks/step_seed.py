"""Random draws of the network itself that a resumed run repeats."""

from __future__ import annotations

from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from samft.seeding import derive_seed

_STREAM: Final = 0x5EED  # apart from prompts, order and augmentation


class StepSeed(Callback):
    """Seeds torch's own generators before every batch, as a function of seed, batch and process.

    Dropout, in LoRA and in the encoder's paths, draws from them. They are not in a checkpoint, and
    that of one process could not restore those of others.
    """

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # Any: Lightning's signature
        batch_idx: int,
    ) -> None:
        """See the class."""
        seed = int(getattr(pl_module, "seed", 0))
        number = trainer.fit_loop.total_batch_idx
        torch.manual_seed(derive_seed(_STREAM, seed, number, trainer.global_rank))
