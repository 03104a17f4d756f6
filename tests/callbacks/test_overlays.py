"""Pictures during training: which images, which epoch is the best, and when none are wanted."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from samft import MicroscopyDataModule, SamModule
from samft.callbacks.overlays import Overlays
from samft.errors import ConfigError


class Falling(Callback):
    """Logs a score that gets worse, where modules log theirs: after the turn of callbacks."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            pl_module.log("falling", 1.0 - 0.1 * trainer.current_epoch)


def fit(folder: Path, out: Path, callback: Overlays, epochs: int = 2) -> Path:
    module = SamModule(
        "vit_nano", image_size=64, adapt="full", prompts={"rounds": 0, "extra_passes": 0}
    )
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=CSVLogger(out, name="", version="0"),
        callbacks=[callback, Falling()],
        num_sanity_val_steps=-1,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=MicroscopyDataModule(root=str(folder), val_fraction=0.5))
    return Path(trainer.log_dir) / "overlays"


def test_one_picture_an_epoch_and_the_best(dsb_folder: Path, tmp_path: Path) -> None:
    pictures = fit(dsb_folder, tmp_path, Overlays(images=2, monitor="falling"))
    names = sorted(path.name for path in pictures.iterdir())
    assert names == ["best.png", "epoch_000.png", "epoch_001.png"]
    same = [path.read_bytes() for path in sorted(pictures.iterdir())]
    assert same[0] == same[1] != same[2]
    image = np.asarray(Image.open(pictures / "best.png"))
    assert image.shape[1] > 4 * 200  # prompt, truth, zero-shot, tuned


def test_every_second_epoch(dsb_folder: Path, tmp_path: Path) -> None:
    pictures = fit(dsb_folder, tmp_path, Overlays(images=1, every_n_epochs=2))
    assert sorted(path.name for path in pictures.iterdir()) == ["best.png", "epoch_001.png"]


def test_none_wanted(dsb_folder: Path, tmp_path: Path) -> None:
    assert not fit(dsb_folder, tmp_path, Overlays(images=0), epochs=1).exists()


def test_does_not_change_training(dsb_folder: Path, tmp_path: Path) -> None:
    states = []
    for images in (0, 2):
        torch.manual_seed(3)
        callback = Overlays(images=images)
        module = SamModule("vit_nano", image_size=64, adapt="full", prompts={"rounds": 1})
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=CSVLogger(tmp_path, name=str(images), version="0"),
            callbacks=[callback],
            num_sanity_val_steps=-1,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
        trainer.fit(module, datamodule=MicroscopyDataModule(root=str(dsb_folder)))
        states.append(module.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_best_score_survives_a_resume() -> None:
    one, two = Overlays(), Overlays()
    one._best = 0.7
    two.load_state_dict(one.state_dict())
    assert two._best == 0.7


@pytest.mark.parametrize("setting", [{"images": -1}, {"objects": 0}, {"every_n_epochs": 0}])
def test_out_of_range(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="images must be at least 0") as caught:
        Overlays(**setting)
    name, value = next(iter(setting.items()))
    assert f"{name} {value}" in str(caught.value)


def test_images_with_objects_come_first() -> None:
    callback = Overlays(images=2)
    callback._batches, callback._count = 6, 2
    batches = [SimpleNamespace(num_objects=count) for count in (0, 3, 2, 0, 0, 0)]
    for index, batch in enumerate(batches):
        if callback._choose(index, batch):
            callback._truth[index] = batch
    assert callback._chosen == {0: 1, 1: 3}  # the second half has none: its first
    assert set(callback._truth) == {1, 3}
    again = [index for index, batch in enumerate(batches) if callback._choose(index, batch)]
    assert again == [1, 3]  # the same ones in every epoch
