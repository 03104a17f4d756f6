"""Images of another data set among the user's own."""

from pathlib import Path

import pytest
import torch
from fixtures_data import discs, picture, save

from samft import SyntheticDataModule
from samft.data.dataset import SampleKey
from samft.data.microscopy import MicroscopyDataModule
from samft.errors import ConfigError
from samft.types import NO_CLASS


def make(root: Path, **settings: object) -> MicroscopyDataModule:
    generic = SyntheticDataModule(num_train=40, size=64)
    return MicroscopyDataModule(
        root=str(root), **({"image_size": 64, "generic": generic, "val_fraction": 0.34} | settings)
    )


def test_a_share_of_the_training_images_is_drawn_anew_in_every_epoch(dsb_folder: Path) -> None:
    data = make(dsb_folder, generic_share=0.5)
    own = data.records("train")
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.order.epoch = epoch
        epochs.append({name for batch in loader for name in batch.sample_ids})
    names = {record.sample_id for record in own}
    for seen in epochs:
        assert names <= seen
        assert len(seen - names) == len(own)
        assert all(name.startswith("generic/") for name in seen - names)
    assert epochs[0] - names != epochs[1] - names


def test_what_is_mixed_in_has_no_class_and_stays_out_of_evaluation(dsb_folder: Path) -> None:
    data = make(dsb_folder, generic_share=0.5)
    mixed = data.dataset("train", augment=True)
    key = SampleKey(len(mixed) - 1, 7)
    sample = mixed[key]
    assert sample.num_objects > 0
    assert (sample.object_class == NO_CLASS).all()
    assert torch.equal(sample.image, mixed[key].image)
    assert mixed[0].sample_id == data.records("train")[0].sample_id
    for split in ("train", "val"):
        assert len(data.dataset(split)) == len(data.records(split))
    with pytest.raises(IndexError):
        mixed[len(mixed)]


def test_without_a_share_nothing_is_mixed_in(dsb_folder: Path) -> None:
    data = make(dsb_folder, generic_share=0.0)
    assert len(data.dataset("train", augment=True)) == len(data.records("train"))


def test_workers_see_the_same(dsb_folder: Path) -> None:
    first, second = (
        [batch.sample_ids for batch in make(dsb_folder, num_workers=n).train_dataloader()]
        for n in (0, 1)
    )
    assert first == second


def test_a_share_that_leaves_nothing(dsb_folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"where: data.generic_share, found: 1.0, expected: at least 0 and below"
    ):
        make(dsb_folder, generic_share=1.0)


def test_mistakes_in_the_other_data_show_before_training(dsb_folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "a" / "images" / "a.png", picture(discs(0), 0))
    other = MicroscopyDataModule(root=str(tmp_path), val_fraction=0.0)
    with pytest.raises(Exception, match=str(tmp_path)):
        make(dsb_folder, generic=other).prepare_index()
