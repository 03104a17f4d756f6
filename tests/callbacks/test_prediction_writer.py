"""Predictions go to disk batch by batch, and none stay in memory."""

from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from samft import MicroscopyDataModule, SamModule
from samft.callbacks.prediction_writer import PredictionWriter
from samft.errors import OutputError


def predict(folder: Path, out: Path, **settings: object) -> object:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[PredictionWriter(str(out), **settings)],
        enable_progress_bar=False,
    )
    data = MicroscopyDataModule(root=str(folder), val_fraction=0.5)
    module = SamModule("vit_nano", image_size=64)
    return trainer.predict(module, datamodule=data, return_predictions=False)


def test_writes_as_it_goes(dsb_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert predict(dsb_folder, out, formats=["tiff", "coco"]) is None
    assert list(out.rglob("*.tif"))
    assert (out / "coco.json").is_file()
    assert not list(out.rglob("*.part"))


def test_refuses_a_folder_in_use(dsb_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="not empty"):
        predict(dsb_folder, tmp_path)
    predict(dsb_folder, tmp_path, overwrite=True, formats=["png"])
    assert (tmp_path / "mine.txt").exists()
