"""What all datamodules share: splits, loaders, seeds, settings."""

import logging
import pickle
from pathlib import Path

import pytest
import torch
from fixtures_data import discs, picture, save

from samft.data.dataset import SampleKey
from samft.data.loader import ResumableLoader
from samft.data.microscopy import MicroscopyDataModule
from samft.errors import ConfigError, DatasetError, SamftError
from samft.types import SamBatch


def make(root: Path, **settings) -> MicroscopyDataModule:
    return MicroscopyDataModule(root=str(root), **({"image_size": 64} | settings))


def test_batches_of_every_loader(dsb_folder: Path) -> None:
    data = make(dsb_folder, batch_size=2, val_fraction=0.34, test_fraction=0.17)
    data.setup("fit")
    train = list(data.train_dataloader())
    assert [len(batch.sample_ids) for batch in train] == [2, 1]
    assert all(batch.samples is None for batch in train)
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        for batch in loader:
            assert isinstance(batch, SamBatch)
            assert len(batch.samples) == len(batch.sample_ids) == 1
            assert batch.num_objects == batch.samples[0].num_objects == 4
    assert [b.sample_ids for b in data.predict_dataloader()] == [
        b.sample_ids for b in data.test_dataloader()
    ]
    seen = {name for batch in train for name in batch.sample_ids}
    seen |= {
        name
        for loader in (data.val_dataloader(), data.test_dataloader())
        for batch in loader
        for name in batch.sample_ids
    }
    assert len(seen) == 6


def test_sample_ids_are_relative_and_unique(dsb_folder: Path) -> None:
    data = make(dsb_folder)
    names = [record.sample_id for split in ("train", "val") for record in data.records(split)]
    assert sorted(names) == [f"stage1_train/case{i}/images/case{i}.png" for i in range(6)]


def test_two_modules_agree(dsb_folder: Path) -> None:
    first, second = (list(make(dsb_folder, seed=5).train_dataloader()) for _ in range(2))
    assert [b.sample_ids for b in first] == [b.sample_ids for b in second]
    other = list(make(dsb_folder, seed=6).train_dataloader())
    assert [b.sample_ids for b in first] != [b.sample_ids for b in other]


def test_prepare_index_works_once_and_without_a_trainer(dsb_folder: Path, monkeypatch) -> None:
    data = make(dsb_folder, image_size=None)
    data.prepare_index()
    monkeypatch.setattr(data, "index", lambda: pytest.fail("indexed twice"))
    data.prepare_index()
    data.setup("fit")
    assert len(data.records("train")) == 5


def test_input_size_must_come_from_somewhere(dsb_folder: Path) -> None:
    data = make(dsb_folder, image_size=None)
    with pytest.raises(ConfigError, match="input size is not known") as caught:
        data.train_dataloader()
    assert "data.image_size" in str(caught.value)
    assert "such as 1024" in str(caught.value)


def test_no_validation_wanted(dsb_folder: Path) -> None:
    data = make(dsb_folder, val_fraction=0)
    assert data.val_dataloader() == []
    with pytest.raises(DatasetError, match="neither a test nor a validation split"):
        data.predict_dataloader()


def test_no_test_split(dsb_folder: Path) -> None:
    data = make(dsb_folder)
    with pytest.raises(DatasetError, match="there is no test split") as caught:
        data.test_dataloader()
    assert "data.test_fraction" in str(caught.value)
    assert next(iter(data.predict_dataloader())).sample_ids == (data.records("val")[0].sample_id,)


def test_limit_per_split(dsb_folder: Path) -> None:
    data = make(dsb_folder, val_fraction=0.5, max_samples_per_split=2)
    assert [len(data.records(split)) for split in ("train", "val")] == [2, 2]
    assert data.records("train") == make(
        dsb_folder, val_fraction=0.5, max_samples_per_split=2
    ).records("train")


def test_cases_by_pattern(tmp_path: Path) -> None:
    for patient in "abcd":
        for view in range(3):
            labels = discs(view)
            save(tmp_path / "images" / f"{patient}_{view}.png", picture(labels, view))
            save(tmp_path / "masks" / f"{patient}_{view}.png", labels.astype("uint8"))
    data = make(tmp_path, case_pattern=r"/(\w)_\d", val_fraction=0.25)
    assert {r.case_id for r in data.records("val")} <= set("abcd")
    assert len(data.records("val")) == 3
    with pytest.raises(DatasetError, match="case_pattern does not fit") as caught:
        make(tmp_path, case_pattern=r"([xyz])_\d").prepare_index()
    assert "images/a_0.png" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("eval_batch_size", 0),
        ("num_workers", -1),
        ("seed", -3),
        ("image_size", 0),
        ("min_area", 0),
        ("max_samples_per_split", 0),
        ("val_fraction", 1.5),
        ("transforms", "nonsense"),
        ("case_pattern", "([a"),
    ],
)
def test_settings_out_of_range(dsb_folder: Path, name: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make(dsb_folder, **{name: value})
    assert f"data.{name}" in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


@pytest.fixture
def with_empty(tmp_path: Path) -> Path:
    for number in range(6):
        labels = discs(number, count=0 if number < 3 else 2)
        save(tmp_path / f"{number}.png", picture(labels, number))
        save(tmp_path / f"{number}_mask.png", labels.astype("uint8"))
    return tmp_path


def test_empty_images_stay_unless_told_otherwise(with_empty: Path, caplog) -> None:
    batches = list(make(with_empty, val_fraction=0, batch_size=6).train_dataloader())
    assert [len(b.sample_ids) for b in batches] == [6]
    assert batches[0].num_objects == 6
    with caplog.at_level(logging.INFO, "samft"):
        data = make(with_empty, val_fraction=0.17, skip_empty=True)
        data.prepare_index()
    assert all(int(record.sample_id[0]) >= 3 for record in data.records("train"))
    assert "training images have no object and are left out" in caplog.text
    all_ids = {r.sample_id for split in ("train", "val") for r in data.records(split)}
    assert {r.sample_id for r in make(with_empty, val_fraction=0.17).records("val")} <= all_ids


def test_only_empty_images(with_empty: Path) -> None:
    with pytest.raises(DatasetError, match="no training image has an object") as caught:
        make(with_empty, skip_empty=True, min_area=10_000).prepare_index()
    assert "data.min_area 10000" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_small_objects_are_counted_and_reported_once(
    dsb_folder: Path, caplog, workers: int
) -> None:
    data = make(dsb_folder, val_fraction=0, min_area=10_000, num_workers=workers)
    loader = data.train_dataloader()
    with caplog.at_level(logging.INFO, "samft"):
        assert all(batch.num_objects == 0 for batch in loader)
        assert data.tally("train").small == 24
        list(loader)
    lines = [line for line in caplog.messages if "data.min_area" in line]
    assert len(lines) == 1
    assert lines[0].startswith("train: in 6 loaded images, 24 objects smaller than")


def test_dropped_objects_are_reported_at_the_end_of_a_short_run(dsb_folder: Path, caplog) -> None:
    data = make(dsb_folder, val_fraction=0, min_area=10_000, batch_size=1)
    iterator = iter(data.train_dataloader())
    next(iterator)
    with caplog.at_level(logging.INFO, "samft"):
        data.teardown("fit")
    assert "4 objects smaller than" in caplog.text


def test_nothing_dropped_nothing_said(dsb_folder: Path, caplog) -> None:
    with caplog.at_level(logging.INFO, "samft"):
        data = make(dsb_folder, val_fraction=0)
        list(data.train_dataloader())
        data.teardown("fit")
    assert "smaller" not in caplog.text


def test_a_key_gives_the_same_sample_anywhere(dsb_folder: Path) -> None:
    data = make(dsb_folder, transforms="microscopy")
    dataset = data.dataset("train", augment=True)
    first = dataset[SampleKey(2, 77)]
    dataset[SampleKey(1, 5)]
    again = data.dataset("train", augment=True)[SampleKey(2, 77)]
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.layers, again.layers)
    assert not torch.equal(first.image, dataset[SampleKey(2, 78)].image)
    plain = data.dataset("train")[2]
    assert torch.equal(plain.image, data.dataset("train")[SampleKey(2, 123)].image)


def test_evaluation_is_never_augmented(dsb_folder: Path) -> None:
    plain = next(iter(make(dsb_folder).val_dataloader()))
    other = next(iter(make(dsb_folder, transforms="microscopy").val_dataloader()))
    assert torch.equal(plain.images, other.images)


def test_workers_started_afresh_get_what_they_need(dsb_folder: Path) -> None:
    # As on macOS and Windows, where nothing is inherited and all must be pickled.
    data = make(dsb_folder, transforms="flip")
    data.trainer = lambda: "a trainer cannot be pickled, nor can this"
    dataset = data.dataset("train", augment=True)
    dataset.tally = None  # shared memory is handed over by multiprocessing itself
    clone = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(clone[SampleKey(0, 9)].image, dataset[SampleKey(0, 9)].image)


def test_unreadable_file_during_training_is_named(tmp_path: Path) -> None:
    for number in range(4):
        labels = discs(number)
        save(tmp_path / f"{number}.png", picture(labels, number))
        save(tmp_path / f"{number}_mask.png", labels.astype("uint8"))
    data = make(tmp_path, val_fraction=0)
    data.prepare_index()
    path = tmp_path / "2.png"
    path.write_bytes(path.read_bytes()[:300])
    for workers in (0, 1):
        data.num_workers = workers
        with pytest.raises(SamftError) as caught:
            list(data.train_dataloader())
        assert str(path) in str(caught.value)


def test_batch_moves_but_its_samples_stay(dsb_folder: Path) -> None:
    data = make(dsb_folder)
    batch = next(iter(data.val_dataloader()))
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert moved.images.is_meta
    assert moved.layers.is_meta
    assert moved.samples is batch.samples


def test_loaders_are_the_resumable_kind(dsb_folder: Path) -> None:
    data = make(dsb_folder, num_workers=0)
    assert isinstance(data.train_dataloader(), ResumableLoader)
    assert data.train_dataloader().state_dict()["batches"] == 0
