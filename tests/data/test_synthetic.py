"""The synthetic datamodule: fresh training images, fixed evaluation images, settings."""

import pickle

import pytest
import torch

from samft.data.dataset import SampleKey
from samft.data.loader import ResumableLoader
from samft.data.synthesis.scenes import LOOKS
from samft.data.synthetic import MIX, SyntheticDataModule, generate
from samft.errors import ConfigError, DatasetError
from samft.types import SamBatch


def make(**settings) -> SyntheticDataModule:
    defaults = {"image_size": 64, "size": 64, "num_train": 6, "num_val": 3, "num_test": 2}
    return SyntheticDataModule(**(defaults | settings))


def images(loader) -> torch.Tensor:
    return torch.cat([batch.images for batch in loader])


def test_generate_is_a_function_of_its_arguments() -> None:
    first, again = generate(5, size=96), generate(5, size=96)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.layers, again.layers)
    assert first.sample_id == again.sample_id
    assert first.size == (96, 96)
    assert first.masks().flatten(1).sum(1).min() >= 12
    assert not torch.equal(first.image, generate(6, size=96).image)
    assert generate(5, size=96, look="ct").sample_id == "ct/0000000000000000005"


def test_looks_come_as_often_as_their_weights_say() -> None:
    only = [generate(seed, size=64, looks={"ct": 3, "mr": 1, "photo": 0}) for seed in range(60)]
    names = [sample.sample_id.split("/")[0] for sample in only]
    assert set(names) == {"ct", "mr"}
    assert 30 < names.count("ct") < 58
    assert all(LOOKS[int(s.object_class[0])] == n for s, n in zip(only, names, strict=True))
    assert set(MIX) == set(LOOKS)


def test_batches_of_every_loader() -> None:
    data = make(batch_size=4)
    data.setup("fit")
    train = list(data.train_dataloader())
    assert [len(batch.sample_ids) for batch in train] == [4, 2]
    for loader, count in (
        (data.val_dataloader(), 3),
        (data.test_dataloader(), 2),
        (data.predict_dataloader(), 2),
    ):
        batches = list(loader)
        assert len(batches) == count
        for batch in batches:
            assert isinstance(batch, SamBatch)
            assert batch.num_objects == batch.samples[0].num_objects > 0
    assert data.class_names == LOOKS


def test_training_images_are_new_in_every_epoch_and_the_others_stay() -> None:
    data = make()
    train, val = data.train_dataloader(), data.val_dataloader()
    first, first_val = list(train), images(val)
    for loader in (train, val):
        loader.sampler.set_epoch(1)
    second = list(train)
    seen = [name for batch in (*first, *second) for name in batch.sample_ids]
    assert len(set(seen)) == 12
    assert torch.equal(first_val, images(val))
    train.sampler.set_epoch(0)
    assert torch.equal(images(train), torch.cat([batch.images for batch in first]))


def test_splits_and_seeds_differ() -> None:
    data = make(num_train=3)
    names = [
        data.dataset(split)[index].sample_id
        for split in ("train", "val", "test")
        for index in range(2)
    ]
    names += [make(seed=1).dataset("val")[0].sample_id]
    assert len(set(names)) == 7


def test_a_key_decides_training_images_only() -> None:
    data = make()
    train, val = data.dataset("train"), data.dataset("val")
    assert train[SampleKey(0, 9)].sample_id == train[SampleKey(1, 9)].sample_id
    assert train[SampleKey(0, 9)].sample_id != train[SampleKey(0, 10)].sample_id
    assert torch.equal(val[SampleKey(1, 9)].image, val[1].image)
    clone = pickle.loads(pickle.dumps(train))
    assert torch.equal(clone[SampleKey(0, 9)].image, train[SampleKey(0, 9)].image)
    assert len(list(val)) == 3


def test_goes_on_where_it_stopped() -> None:
    data = make(batch_size=2)
    whole = [batch.images for batch in data.train_dataloader()]
    loader = data.train_dataloader()
    assert isinstance(loader, ResumableLoader)
    next(iter(loader))
    resumed = data.train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    rest = [batch.images for batch in resumed]
    assert len(rest) == 2
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[1:], strict=True))


@pytest.mark.slow
def test_workers_draw_the_same_images() -> None:
    alone, helped = (
        list(make(size=256, num_train=16, num_workers=n).train_dataloader()) for n in (0, 2)
    )
    for one, two in zip(alone, helped, strict=True):
        assert one.sample_ids == two.sample_ids
        assert torch.equal(one.images, two.images)
        assert torch.equal(one.layers, two.layers)


def test_augmentation_is_for_training_only() -> None:
    plain, flipped = make(num_train=8), make(num_train=8, transforms="flip")
    keys = [SampleKey(index, 100 + index) for index in range(8)]
    pairs = [
        (plain.dataset("train", augment=True)[k], flipped.dataset("train", augment=True)[k])
        for k in keys
    ]
    assert any(not torch.equal(a.image, b.image) for a, b in pairs)
    assert all(a.sample_id == b.sample_id for a, b in pairs)
    val = images(plain.val_dataloader())
    assert torch.equal(val, images(flipped.val_dataloader()))


def test_looks_as_list_or_weights() -> None:
    for looks in (["ct"], {"ct": 2.0, "mr": 0}):
        batches = list(make(looks=looks).val_dataloader())
        assert all(batch.sample_ids[0].startswith("ct/") for batch in batches)


def test_no_validation_or_test_images_wanted() -> None:
    data = make(num_val=0, num_test=0)
    assert data.val_dataloader() == []
    with pytest.raises(DatasetError, match="there is no test split") as caught:
        data.test_dataloader()
    assert "data.num_test, found: 0" in str(caught.value)
    with pytest.raises(DatasetError, match="neither a test nor a validation split"):
        data.predict_dataloader()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_train": 0}, "data.num_train, found: 0, expected: 1 or more"),
        ({"num_val": -1}, "data.num_val, found: -1"),
        ({"num_test": -2}, "data.num_test"),
        ({"size": 32}, "data.size, found: 32, expected: 64 or more"),
        ({"batch_size": 0}, "data.batch_size"),
        ({"seed": -1}, "data.seed"),
        ({"looks": ["flourescence"]}, "did you mean 'fluorescence'?"),
        ({"looks": {"ct": -1.0, "mr": 2.0}}, "weights of 0 or more"),
        ({"looks": {"ct": float("nan")}}, "data.looks"),
        ({"looks": {"ct": 0.0}}, "at least one above 0"),
        ({"looks": []}, "at least one above 0"),
        ({"transforms": "flipp"}, "did you mean 'flip'?"),
    ],
)
def test_wrong_settings(settings, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**settings)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
