"""Order and augmentation are functions of (seed, epoch, index): on any number of workers, after any
interruption."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from samft.data.dataset import SampleKey
from samft.data.loader import ResumableLoader, ResumableSampler
from samft.data.microscopy import MicroscopyDataModule
from samft.errors import ConfigError


def keys(epoch: int = 0, **settings) -> list[SampleKey]:
    sampler = ResumableSampler(10, **({"seed": 3, "shuffle": True} | settings))
    sampler.set_epoch(epoch)
    return list(sampler)


def indices(**settings) -> list[int]:
    return [key.index for key in keys(**settings)]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert keys() == keys()
    assert sorted(indices()) == list(range(10))
    assert indices() != indices(epoch=1) != indices(seed=4)


def test_sample_seeds_differ_between_samples_and_epochs() -> None:
    seeds = [key.seed for epoch in range(5) for key in keys(epoch)]
    assert len(set(seeds)) == 50


def test_a_samples_seed_does_not_depend_on_its_place() -> None:
    shuffled = {key.index: key.seed for key in keys()}
    assert {key.index: key.seed for key in keys(shuffle=False)} == shuffled


@pytest.mark.parametrize("world_size", [2, 3, 4, 16])
def test_training_ranks_get_equally_many_and_all_samples(world_size: int) -> None:
    parts = [indices(rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    assert {index for part in parts for index in part} == set(range(10))
    for rank, part in enumerate(parts):
        sampler = ResumableSampler(10, seed=3, shuffle=True, rank=rank, world_size=world_size)
        assert len(sampler) == len(part)


@pytest.mark.parametrize("world_size", [2, 3, 4, 16])
def test_evaluation_ranks_share_the_samples_without_repeating_one(world_size: int) -> None:
    parts = []
    for rank in range(world_size):
        sampler = ResumableSampler(
            10, seed=0, shuffle=False, rank=rank, world_size=world_size, pad=False
        )
        parts.append([key.index for key in sampler])
        assert len(sampler) == len(parts[-1])
    assert sorted(index for part in parts for index in part) == list(range(10))


class Numbers(torch.utils.data.Dataset):
    """Ten samples that are their own key."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, key: SampleKey) -> tuple[int, int]:
        return key.index, key.seed


def loader(*, seed: int = 0, workers: int = 0, batch_size: int = 3) -> ResumableLoader:
    return ResumableLoader(
        Numbers(),
        ResumableSampler(10, seed=seed, shuffle=True),
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
    )


def epochs(of: ResumableLoader, first: int, last: int) -> list:
    batches = []
    for epoch in range(first, last):
        of.sampler.set_epoch(epoch)
        batches += list(of)
    return batches


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", range(8))
def test_goes_on_where_it_stopped(stop: int, workers: int) -> None:
    if workers and stop not in (2, 4):
        pytest.skip("worker processes are slow; two positions do")
    expected = epochs(loader(), 0, 2)
    first = loader(workers=workers)
    seen = []
    for epoch in range(2):
        first.sampler.set_epoch(epoch)
        for batch in first:
            if len(seen) == stop:
                break
            seen.append(batch)
            state = first.state_dict()
        if len(seen) == stop:
            break
    if stop == 0:
        state = first.state_dict() | {"batches": 0}
    second = loader(workers=workers)
    second.load_state_dict(state)
    assert len(second) == 4
    assert seen + epochs(second, state["epoch"], 2) == expected


def test_the_next_epoch_starts_at_its_beginning() -> None:
    first = loader()
    list(first)
    second = loader()
    second.load_state_dict(first.state_dict())
    assert epochs(second, 1, 2) == epochs(loader(), 1, 2)


@pytest.mark.parametrize("stop", [2, 99])
def test_saved_again_before_it_has_gone_on_it_is_where_it_was(stop: int) -> None:
    first, second = loader(), loader()
    for number, _ in enumerate(first, start=1):
        if number == stop:
            break
    state = first.state_dict()
    assert state["batches"] == min(stop, len(first))
    second.load_state_dict(state)
    assert second.state_dict() == state
    second.order.set_epoch(1)
    assert second.state_dict()["batches"] == 0


@pytest.mark.parametrize(
    ("changed", "name"), [({"seed": 1}, "data.seed"), ({"batch_size": 2}, "data.batch_size")]
)
def test_refuses_other_settings_in_the_middle_of_an_epoch(changed: dict, name: str) -> None:
    first = loader()
    next(iter(first))
    with pytest.raises(ConfigError, match="cannot go on with other settings") as caught:
        loader(**changed).load_state_dict(first.state_dict())
    text = str(caught.value)
    assert name in text
    assert "model.weights" in text
    assert len(text.splitlines()) <= 4


def test_takes_other_settings_between_epochs() -> None:
    first = loader()
    list(first)
    other = loader(batch_size=5)
    other.load_state_dict(first.state_dict())
    assert len(epochs(other, 1, 2)) == 2


def test_says_when_the_last_batch_is_ready() -> None:
    passes = []
    of = loader()
    of.after_pass = lambda: passes.append(of.state_dict()["batches"])
    iterator = iter(of)
    for _ in range(3):
        next(iterator)
    assert passes == []
    next(iterator)  # Lightning does not ask again after this one
    assert passes == [4]


class Recorder(LightningModule):
    """Remembers what it was trained on and has one weight that depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.image_size = 64
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[tuple[str, ...], int]] = []

    def training_step(self, batch, batch_idx):
        places = torch.arange(batch.images.numel()).reshape(batch.images.shape)
        self.seen.append((batch.sample_ids, int((batch.images * places).sum())))
        return self.weight * batch.images.float().mean() / 255

    def validation_step(self, batch, batch_idx):
        assert batch.samples is not None

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class SaveAt(Callback):
    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def train(root: Path, *, workers: int, resume: Path | None = None, **more) -> Recorder:
    module = Recorder()
    data = MicroscopyDataModule(
        root=str(root),
        batch_size=2,
        num_workers=workers,
        transforms="microscopy",
        val_fraction=0.17,
    )
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in more.get("callbacks", ())),
        **more,
    )
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=resume and True)
    return module


@pytest.fixture(scope="module")
def uninterrupted(dsb_folder: Path) -> Recorder:
    return train(dsb_folder, workers=0)


def test_augmentation_changes_from_epoch_to_epoch(uninterrupted: Recorder) -> None:
    by_epoch = [dict(uninterrupted.seen[3 * e : 3 * e + 3]) for e in range(3)]
    assert len(uninterrupted.seen) == 9
    sums = [total for epoch in by_epoch for total in epoch.values()]
    assert len(set(sums)) == len(sums)


def test_workers_change_nothing(uninterrupted: Recorder, dsb_folder: Path) -> None:
    other = train(dsb_folder, workers=2)
    assert other.seen == uninterrupted.seen
    assert torch.equal(other.weight, uninterrupted.weight)


@pytest.mark.parametrize(
    ("step", "workers"), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (8, 0), (5, 2)]
)
def test_resumed_run_equals_the_uninterrupted_one(
    step: int, workers: int, uninterrupted: Recorder, dsb_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "stopped.ckpt"
    train(dsb_folder, workers=workers, callbacks=[SaveAt(step, path)])
    resumed = train(dsb_folder, workers=workers, resume=path)
    assert resumed.seen == uninterrupted.seen[step:]
    assert torch.equal(resumed.weight, uninterrupted.weight)


@pytest.mark.parametrize(
    "settings",
    [
        {"every_n_epochs": 1, "save_on_train_epoch_end": True},
        {"every_n_epochs": 1, "save_on_train_epoch_end": False},
        {"every_n_train_steps": 4},
    ],
)
def test_lightnings_own_checkpoints_resume_exactly(
    settings: dict, uninterrupted: Recorder, dsb_folder: Path, tmp_path: Path
) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, **settings)
    train(dsb_folder, workers=0, callbacks=[keep])
    for path in tmp_path.glob("*.ckpt"):
        step = int(path.stem.partition("=")[2])
        resumed = train(dsb_folder, workers=0, resume=path)
        assert resumed.seen == uninterrupted.seen[step:], path.name
        assert torch.equal(resumed.weight, uninterrupted.weight)
    assert list(tmp_path.glob("*.ckpt"))


def test_overfit_batches_still_works(dsb_folder: Path) -> None:
    module = train(dsb_folder, workers=0, overfit_batches=1)
    ids = [names for names, _ in module.seen]
    assert len(ids) == 3
    assert len(set(ids)) == 1
