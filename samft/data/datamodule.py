"""The base of all samft datamodules: splits, loaders, seeds. Domains add index and reading."""

from __future__ import annotations

import copy
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from samft.data.checks import check_files
from samft.data.collate import collate
from samft.data.dataset import SampleDataset
from samft.data.files import relative_name
from samft.data.loader import ResumableLoader, ResumableSampler
from samft.data.pairing import OnMissing
from samft.data.records import SPLITS, Record, Split
from samft.data.roots import resolve_root
from samft.data.splits import (
    assign_splits,
    check_fractions,
    group_by_split,
    limit_records,
    with_folder_splits,
)
from samft.data.tally import Tally
from samft.data.transforms import build_transform
from samft.errors import ConfigError, DatasetError
from samft.types import SamBatch, Sample

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class SamDataModule(LightningDataModule, ABC):
    """Loads images with masks, split by case.

    Args:
        root: Folder of the data; `~` works, and `package:NAME/FOLDER` is a folder inside an
            installed Python package.
        image_size: Side of the square the model sees, pixels; default: the model's own.
        batch_size: Images per training step and device.
        eval_batch_size: Images per validation, test and prediction step.
        num_workers: Processes that load data; 0 loads in the main process. The result is the same.
        transforms: Augmentation preset: none, flip, medical, microscopy or underwater.
        seed: Decides split, order and augmentation.
        val_fraction: Share of the cases for validation, where the data has no folder for it.
        test_fraction: Share of the cases for testing, where the data has no folder for it.
        split_folders: Use folders named train, val and test as splits if there is a train folder.
        case_pattern: Regular expression searched in each image's relative path; its first group (or
            the whole match) names the patient or case, whose images stay in one split. Default:
            every file is a case.
        max_samples_per_split: Use only so many samples of each split, for quick trials.
        skip_empty: Leave training images without any object out (reads all of them once at the
            start). Validation and test always keep them: leaving them out flatters the scores.
        min_area: Objects of fewer pixels in the file become background; how many is logged.
        on_missing: What to do with an image without mask or a mask without image: error or skip.
        check_files: Open every file before training starts, to report damaged ones then.
    """

    root: str
    image_size: int | None = None
    batch_size: int = 4
    eval_batch_size: int = 1
    num_workers: int = 0
    transforms: str | None = None
    seed: int = 0
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    split_folders: bool = True
    case_pattern: str | None = None
    max_samples_per_split: int | None = None
    skip_empty: bool = False
    min_area: int = 1
    on_missing: OnMissing = "error"
    check_files: bool = True

    def __post_init__(self) -> None:
        super().__init__()
        self._check_settings()
        self._transform = build_transform(self.transforms)
        self._splits: dict[Split, list[Record]] | None = None
        self._tallies: dict[Split, Tally] = {}

    @abstractmethod
    def index(self) -> list[Record]:
        """Find all samples below `self.folder`; must not decode pixels."""

    @abstractmethod
    def read(self, record: Record) -> Sample:
        """Read one sample; runs in the loaders' workers, must not depend on earlier calls."""

    @property
    @abstractmethod
    def class_names(self) -> Sequence[str]:
        """The classes in the order of `Sample.object_class`; may need `prepare_index`."""

    @property
    def folder(self) -> Path:
        """The resolved data root."""
        return resolve_root(self.root)

    def prepare_index(self) -> None:
        """Find, check and split the data; once, and before anything is written or trained.

        Raises:
            SamftError: for everything that is wrong with the data.
        """
        if self._splits is None:
            splits = self._split(self._unique(self.index()))
            if self.skip_empty:
                splits["train"] = self._without_empty(splits["train"])
            for split, records in splits.items():
                splits[split] = limit_records(records, self.max_samples_per_split, seed=self.seed)
                if self.check_files:
                    self.check(splits[split])
                for record in splits[split][:1]:  # what headers do not tell: colours and values
                    self.read(record)
            self._splits = splits
            counts = ", ".join(f"{split} {len(splits[split])}" for split in SPLITS)
            _log.info("images in %s: %s", self.folder, counts)

    def records(self, split: Split) -> list[Record]:
        """Return the records of a split."""
        self.prepare_index()
        assert self._splits is not None  # just made
        return self._splits[split]

    def dataset(self, split: Split, *, augment: bool = False) -> SampleDataset:
        """Return a split as a data set of samples in the original frame."""
        # A copy without the trainer is what travels to the workers.
        reader = copy.copy(self)
        reader.trainer = None
        return SampleDataset(
            self.records(split),
            reader.read,
            transform=self._transform if augment else None,
            min_area=self.min_area,
            tally=self.tally(split),
        )

    def tally(self, split: Split) -> Tally:
        """Return the counts of what was dropped from a split."""
        return self._tallies.setdefault(split, Tally(split, min_area=self.min_area))

    def setup(self, stage: str) -> None:
        """Do what `prepare_index` does; Lightning calls it on every process."""
        self.prepare_index()

    def train_dataloader(self) -> ResumableLoader[SamBatch]:
        """Shuffled, augmented, resumable; every process gets equally many samples."""
        return self._loader("train", train=True)

    def val_dataloader(self) -> ResumableLoader[SamBatch] | list[object]:
        """In index order; every sample on exactly one process. Nothing without a split."""
        return self._loader("val") if self.records("val") else []

    def test_dataloader(self) -> ResumableLoader[SamBatch]:
        """Like validation, for the test split.

        Raises:
            DatasetError: if there is no test split.
        """
        if not self.records("test"):
            raise DatasetError(
                "there is no test split",
                where=self.folder,
                fix="make a folder test/ beside train/, or set data.test_fraction as in training",
            )
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Return the test split, or validation where there is none.

        Raises:
            DatasetError: if there is neither.
        """
        split: Split = "test" if self.records("test") else "val"
        if not self.records(split):
            raise DatasetError(
                "there is neither a test nor a validation split to predict",
                where=self.folder,
                fix="set data.test_fraction, or name images with samft predict --source",
            )
        # A plain loader: Lightning builds it again, to follow which samples it gave out.
        return DataLoader(
            self.dataset(split),
            batch_size=self.eval_batch_size,
            sampler=self._sampler(split, train=False),
            num_workers=self.num_workers,
            collate_fn=self._collate(split, keep_samples=True),
        )

    def teardown(self, stage: str) -> None:
        """Report what was dropped, if no loader came to its end before."""
        for tally in self._tallies.values():
            self._report(tally)

    def transfer_batch_to_device(
        self, batch: SamBatch, device: torch.device, dataloader_idx: int
    ) -> SamBatch:
        """Move a batch; its samples stay on the CPU."""
        return batch.to(device, non_blocking=True)

    def case_of(self, path: Path, default: str) -> str:
        """Return the case of an image: what `case_pattern` finds, or `default`.

        Raises:
            DatasetError: if the pattern does not fit the path.
        """
        if self.case_pattern is None:
            return default
        name = relative_name(self.folder, path)
        match = re.search(self.case_pattern, name)
        if match is None:
            raise DatasetError(
                "data.case_pattern does not fit an image",
                where=name,
                expected=f"a match of {self.case_pattern!r}",
                fix="widen the pattern, or narrow data.images",
            )
        return match.group(1) if match.groups() else match.group(0)

    def resolved_image_size(self) -> int:
        """Return `image_size`, or else that of the model under training.

        Raises:
            ConfigError: if neither is known.
        """
        if self.image_size is not None:
            return self.image_size
        module = getattr(self.trainer, "lightning_module", None)
        size = getattr(module, "image_size", None)
        if size is None:
            raise ConfigError(
                "the input size is not known",
                where="data.image_size",
                expected="a number of pixels, or a trainer whose model has an image_size",
                fix="set data.image_size to the model's, such as 1024",
            )
        return int(size)

    def _split(self, records: list[Record]) -> dict[Split, list[Record]]:
        return assign_splits(
            with_folder_splits(records) if self.split_folders else records,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
        )

    def check(self, records: Sequence[Record]) -> None:
        """Look at every file from outside; domains with more to compare extend it.

        Raises:
            DatasetError: naming the first file that is wrong.
        """
        check_files(records)

    def _without_empty(self, records: Sequence[Record]) -> list[Record]:
        dataset = SampleDataset(records, self.read, min_area=self.min_area)
        kept = [record for i, record in enumerate(records) if dataset[i].num_objects > 0]
        _log.info(
            "data.skip_empty: %d of %d training images have no object and are left out",
            len(records) - len(kept),
            len(records),
        )
        if not kept:
            raise DatasetError(
                "no training image has an object",
                where=self.folder,
                found=f"{len(records)} images, data.min_area {self.min_area} pixels",
                fix="check the masks, or lower data.min_area",
            )
        return kept

    def _unique(self, records: list[Record]) -> list[Record]:
        seen: set[str] = set()
        for record in records:
            if record.sample_id in seen:
                raise DatasetError(
                    "two samples have the same name",
                    where=record.images[0],
                    found=record.sample_id,
                    fix="rename one, or narrow data.images",
                )
            seen.add(record.sample_id)
        return records

    def _loader(self, split: Split, *, train: bool = False) -> ResumableLoader[SamBatch]:
        return ResumableLoader(
            self.dataset(split, augment=train),
            self._sampler(split, train=train),
            batch_size=self.batch_size if train else self.eval_batch_size,
            num_workers=self.num_workers,
            collate_fn=self._collate(split, keep_samples=not train),
            after_pass=partial(self._report, self.tally(split)),
        )

    def _sampler(self, split: Split, *, train: bool) -> ResumableSampler:
        return ResumableSampler(
            len(self.records(split)),
            seed=self.seed,
            shuffle=train,
            rank=0 if self.trainer is None else self.trainer.global_rank,
            world_size=1 if self.trainer is None else self.trainer.world_size,
            pad=train,
        )

    def _collate(self, split: Split, *, keep_samples: bool) -> partial[SamBatch]:
        return partial(
            collate,
            image_size=self.resolved_image_size(),
            keep_samples=keep_samples,
            tally=self.tally(split),
        )

    def _report(self, tally: Tally) -> None:
        if self.trainer is None or self.trainer.is_global_zero:
            tally.report()

    def _check_settings(self) -> None:
        lowest = {
            "image_size": 1,
            "batch_size": 1,
            "eval_batch_size": 1,
            "num_workers": 0,
            "seed": 0,
            "max_samples_per_split": 1,
            "min_area": 1,
        }
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(
                    "the setting is out of range",
                    where=f"data.{name}",
                    found=value,
                    expected=f"{least} or more",
                )
        check_fractions(self.val_fraction, self.test_fraction)
