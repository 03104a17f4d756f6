"""Loaders for training, validation, test and prediction over samples with masks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch.utils.data import DataLoader

from samft.data.base import BaseDataModule
from samft.data.collate import collate
from samft.data.dataset import SampleKey
from samft.data.loader import ResumableLoader, ResumableSampler
from samft.data.records import Split
from samft.data.tally import Tally
from samft.data.transforms import build_transform
from samft.errors import DatasetError
from samft.types import SamBatch, Sample


class Samples(Protocol):
    """A split as a data set."""

    def __len__(self) -> int:
        """Return how many samples there are."""
        ...

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Return a sample; the same key gives the same one in any process."""
        ...


@dataclass(kw_only=True, eq=False, repr=False)
class SplitDataModule(BaseDataModule):
    """Gives batches of three splits, wherever their samples come from.

    Args:
        batch_size: Images per training step and device.
        eval_batch_size: Images per validation, test and prediction step.
        num_workers: Processes that load data; 0 loads in the main process. The result is the same.
        transforms: Augmentation preset: none, flip, medical, microscopy or underwater.
        variants: Augmented versions of each training image, taken by turns; default: a new one in
            every epoch. With `model.cache_embeddings` each version is encoded once.
        seed: Decides split, order and augmentation.
    """

    batch_size: int = 4
    eval_batch_size: int = 1
    num_workers: int = 0
    transforms: str | None = None
    variants: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_settings()
        self._transform = build_transform(self.transforms)
        self._tallies: dict[Split, Tally] = {}

    @abstractmethod
    def dataset(self, split: Split, *, augment: bool = False) -> Samples:
        """Return a split as a data set of samples in the original frame."""

    @property
    @abstractmethod
    def class_names(self) -> Sequence[str]:
        """The classes in the order of `Sample.object_class`; may need `prepare_index`."""

    @abstractmethod
    def _size(self, split: Split) -> int:
        """Return the number of samples of a split; indexes the data if needed."""

    @abstractmethod
    def _no_split(self, what: str, *, split: Split) -> DatasetError:
        """Return the error that says how to get a split that is empty."""

    def tally(self, split: Split) -> Tally:
        """Return the counts of what was dropped from a split."""
        return self._tallies.setdefault(split, Tally(split, min_area=self._min_area()))

    def train_dataloader(self) -> DataLoader[SamBatch]:
        """Shuffled, augmented, resumable; every process gets equally many samples."""
        return self._loader("train", train=True)

    def val_dataloader(self) -> DataLoader[SamBatch] | list[object]:
        """In index order; every sample on exactly one process. Nothing without a split."""
        return self._loader("val") if self._size("val") else []

    def test_dataloader(self) -> DataLoader[SamBatch]:
        """Like validation, for the test split.

        Raises:
            DatasetError: if there is no test split.
        """
        if not self._size("test"):
            raise self._no_split("there is no test split", split="test")
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[SamBatch]:
        """Return the test split, or validation where there is none.

        Raises:
            DatasetError: if there is neither.
        """
        split: Split = "test" if self._size("test") else "val"
        if not self._size(split):
            what = "there is neither a test nor a validation split to predict"
            raise self._no_split(what, split=split)
        return self._loader(split, plain=True)

    def teardown(self, stage: str) -> None:
        """Report what was dropped, if no loader came to its end before."""
        for tally in self._tallies.values():
            self._report(tally)

    def _loader(
        self, split: Split, *, train: bool = False, plain: bool = False
    ) -> DataLoader[SamBatch]:
        dataset = self.dataset(split, augment=train)
        sampler = self._sampler(len(dataset), train=train)
        batch_size = self.batch_size if train else self.eval_batch_size
        tally = self.tally(split)
        collate_fn = partial(
            collate,
            image_size=self.resolved_image_size(),
            keep_samples=not train,
            tally=tally,
        )
        overfitting = getattr(self.trainer, "overfit_batches", 0) > 0
        if plain or overfitting:  # Lightning will build it again, which only a plain one survives
            return DataLoader(
                dataset,  # type: ignore[arg-type]  # torch has no type for what collate returns
                batch_size=batch_size,
                sampler=sampler,
                num_workers=self.num_workers,
                collate_fn=collate_fn,
            )
        return ResumableLoader(
            dataset,  # type: ignore[arg-type]  # what it needs of a data set is in the protocol
            sampler,
            batch_size=batch_size,
            num_workers=self.num_workers,
            collate_fn=collate_fn,
            after_pass=partial(self._report, tally),
        )

    def _sampler(self, size: int, *, train: bool) -> ResumableSampler:
        rank, world_size = self._share()
        return ResumableSampler(
            size,
            seed=self.seed,
            shuffle=train,
            rank=rank,
            world_size=world_size,
            pad=train,
            variants=self.variants if train else None,
        )

    def _report(self, tally: Tally) -> None:
        if self.trainer is None or self.trainer.is_global_zero:
            tally.report()

    def _min_area(self) -> int:
        return 1

    def _check_settings(self) -> None:
        for name in ("batch_size", "eval_batch_size", "variants"):
            self._check_at_least(name, 1)
        for name in ("num_workers", "seed"):
            self._check_at_least(name, 0)
