"""Loaders for training, validation, test and prediction over samples with masks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

from torch.utils.data import DataLoader

from samft.data.augmentation.base import Transform
from samft.data.augmentation.registry import DEFAULT_SIDE, build_transform, preset_names
from samft.data.augmentation.settings import AugmentationSettings
from samft.data.base import BaseDataModule
from samft.data.collate import collate
from samft.data.dataset import SampleKey
from samft.data.loader import ResumableLoader, ResumableSampler
from samft.data.records import Split
from samft.data.tally import Tally
from samft.data.worker_signals import leave_signals_to_training
from samft.errors import ConfigError, DatasetError
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
        batch_size: Images per training step and device; `auto` is the largest number up to 64
            whose memory is estimated to fit when training starts.
        eval_batch_size: Images per validation, test and prediction step.
        num_workers: Processes that load data; 0 loads in the main process. The result is the same.
        transforms: Augmentation preset, or several in the order in which they are applied, such as
            `[lsj, underwater]`: none, flip, medical, mr, microscopy, histology, underwater, lsj
            (large-scale jitter), foreground_crop (windows around objects).
        augmentation: Ranges of lsj and foreground_crop.
        variants: Augmented versions of each training image, taken by turns; default: a new one in
            every epoch. With `model.cache_embeddings` each version is encoded once.
        seed: Decides split, order and augmentation.
    """

    batch_size: int | Literal["auto"] = 4
    eval_batch_size: int = 1
    num_workers: int = 0
    transforms: str | list[str] | None = None
    augmentation: AugmentationSettings | None = None
    variants: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_settings()
        self._augmentation()
        self._tallies: dict[Split, Tally] = {}
        self._batch_size_chosen = False

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

    @property
    def repeats(self) -> bool:
        """Whether a training image comes again in later epochs, the same in every pixel."""
        return self.variants is not None or not preset_names(self.transforms)

    def num_inputs(self) -> int:
        """Return how many images training and validation show a model, each version for itself."""
        versions = self.variants or 1
        return len(self.dataset("train", augment=True)) * versions + self._size("val")

    def tally(self, split: Split) -> Tally:
        """Return the counts of what was dropped from a split."""
        return self._tallies.setdefault(split, Tally(split, min_area=self._min_area()))

    def choose_batch_size(self, size: int) -> None:
        """Replace `auto`; what was read of the data until now is not reported as dropped."""
        self.batch_size, self._batch_size_chosen = size, True
        self._tallies = {}

    def state_dict(self) -> dict[str, int]:
        """Return the batch size if it was chosen, so that a resumed run uses the same."""
        return {"batch_size": int(self.batch_size)} if self._batch_size_chosen else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Take over a batch size that was chosen, where one would be chosen now."""
        if self._batch_size_chosen and "batch_size" in state_dict:
            self.batch_size = state_dict["batch_size"]

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

    def predict_split(self) -> Split:
        """Return what prediction is about: the test split, or validation where there is none.

        Raises:
            DatasetError: if there is neither.
        """
        split: Split = "test" if self._size("test") else "val"
        if not self._size(split):
            what = "there is neither a test nor a validation split to predict"
            raise self._no_split(what, split=split)
        return split

    def predict_dataloader(self) -> DataLoader[SamBatch]:
        """Return the loader of `predict_split`."""
        return self._loader(self.predict_split(), plain=True)

    def teardown(self, stage: str) -> None:
        """Report what was dropped, if no loader came to its end before."""
        for tally in self._tallies.values():
            self._report(tally)

    def _augmentation(self) -> Transform | None:
        """Return what training images go through, for the model that the trainer runs, if any."""
        try:
            side = self.resolved_image_size()
        except ConfigError:  # nobody asks for a batch yet
            side = DEFAULT_SIDE
        return build_transform(
            self.transforms,
            num_channels=self.num_channels,
            side=side,
            settings=AugmentationSettings.resolve(self.augmentation),
        )

    @property
    def transform(self) -> Transform | None:
        """The augmentation of training images, `None` for none."""
        return self._augmentation()

    def _loader(
        self, split: Split, *, train: bool = False, plain: bool = False
    ) -> DataLoader[SamBatch]:
        dataset = self.dataset(split, augment=train)
        self._check_share(split, len(dataset))
        sampler = self._sampler(len(dataset), train=train)
        batch_size = self._train_batch_size() if train else self.eval_batch_size
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
                worker_init_fn=leave_signals_to_training,
            )
        return ResumableLoader(
            dataset,  # type: ignore[arg-type]  # what it needs of a data set is in the protocol
            sampler,
            batch_size=batch_size,
            num_workers=self.num_workers,
            collate_fn=collate_fn,
            after_pass=partial(self._report, tally),
        )

    def _train_batch_size(self) -> int:
        if self.batch_size == "auto":
            raise ConfigError(
                "the batch size has not been chosen yet",
                where="data.batch_size",
                found="auto",
                expected="a number, or training by `Trainer.fit` with a `SamModule`",
                fix="set data.batch_size to a number",
            )
        return self.batch_size

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

    def _check_share(self, split: Split, size: int) -> None:
        """Refuse a split of which a process would have nothing, and wait for others for ever."""
        _, world_size = self._share()
        if size < world_size:
            raise DatasetError(
                "there are fewer images than devices that share them",
                where=f"the {split} split",
                found=f"{size} images, {world_size} devices",
                fix="use fewer (trainer.devices), or put more images into that split",
            )

    def _report(self, tally: Tally) -> None:
        if self.trainer is None or self.trainer.is_global_zero:
            tally.report()

    def _min_area(self) -> int:
        return 1

    def _check_settings(self) -> None:
        for name in ("eval_batch_size", "variants"):
            self._check_at_least(name, 1)
        if self.batch_size != "auto":
            self._check_at_least("batch_size", 1)
        for name in ("num_workers", "seed"):
            self._check_at_least(name, 0)
