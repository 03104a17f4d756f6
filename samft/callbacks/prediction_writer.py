"""Writes predictions to disk as they come, on every rank, so that none are gathered in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from samft.data.split_datamodule import SplitDataModule
from samft.inference.predictions import ImagePrediction
from samft.inference.writers import PredictionFiles
from samft.result_formats import Format


class PredictionWriter(BasePredictionWriter):
    """Writes each image's masks below one folder, see `samft.inference.writers.PredictionFiles`.

    Args:
        out: Folder for the results; must be empty or absent unless `overwrite`.
        formats: Any of those in `samft.inference.formats.registry` that are about images: png and
            tiff (label maps), masks, coco (one JSON with all masks), sa1b, geojson, overlay, ...
        overwrite: Replace the results of an earlier prediction.
    """

    def __init__(
        self,
        out: str = "predictions",
        formats: list[Format] | None = None,
        overwrite: bool = False,
    ) -> None:
        super().__init__(write_interval="batch")
        self.out = Path(out)
        self.formats: tuple[Format, ...] = tuple(formats or ("png", "coco", "overlay"))
        self.overwrite = overwrite
        self.files: PredictionFiles | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder, on the first process before the others."""
        data = getattr(trainer, "datamodule", None)
        names = data.class_names if isinstance(data, SplitDataModule) else None
        if trainer.is_global_zero:
            self.files = self._open(names, rank=0, overwrite=self.overwrite)
        trainer.strategy.barrier("prediction folder")
        if self.files is None:
            self.files = self._open(names, rank=trainer.global_rank, overwrite=True)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,  # Any: Lightning's signature; a list of ImagePrediction
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the predictions of one batch."""
        assert self.files is not None  # made in on_predict_start
        for item in prediction:
            assert isinstance(item, ImagePrediction)
            self.files.write(item)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Join what the processes wrote."""
        trainer.strategy.barrier("predictions written")
        if trainer.is_global_zero and self.files is not None:
            self.files.close()

    def _open(self, names: Sequence[str] | None, *, rank: int, overwrite: bool) -> PredictionFiles:
        return PredictionFiles(
            self.out, self.formats, class_names=names, overwrite=overwrite, part=rank
        )
