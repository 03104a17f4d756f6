"""The base of all datamodules that read files: splits by case. Domains add index and reading."""

from __future__ import annotations

import copy
import logging
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from samft.data.augmentation.registry import preset_names
from samft.data.checks import check_files
from samft.data.dataset import SampleDataset
from samft.data.examples import use_example
from samft.data.files import relative_name
from samft.data.mixing import MixedSamples
from samft.data.pairing import OnMissing
from samft.data.pictures import num_delivered
from samft.data.preprocessing import Preprocessing
from samft.data.readers.volume import AXES
from samft.data.record_store import collect_records, find_repeated
from samft.data.records import SPLITS, Record, Split
from samft.data.replay import RecordedPrompts
from samft.data.roots import resolve_root
from samft.data.source_files import open_source
from samft.data.sources import Source
from samft.data.split_datamodule import Samples, SplitDataModule
from samft.data.splits import (
    assign_splits,
    check_fractions,
    limit_records,
    with_folder_splits,
)
from samft.errors import ConfigError, DatasetError
from samft.types import Sample

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class SamDataModule(SplitDataModule):
    """Loads images with masks, split by case.

    Args:
        root: Folder of the data; `~` works, `package:NAME/FOLDER` is a folder inside an installed
            Python package, and `example:ct_chest` is a packaged data set with its settings.
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
        channels: Channels of the files to use, by number from 0 and in this order, each scaled by
            itself. One to three become RGB (one is repeated, the third of two is their mean); more
            stay as they are, for a model with `model.channels.count`. Default: all, at most three.
        keep_depth: Keep the grey levels of images of more than 8 bits, scaled to 0..255, instead of
            rounding them to 256. Takes four times the memory.
        recorded_prompts: JSON or CSV file with prompts that people gave, in pixels of the files.
            Training images must stay as they are, without `transforms`. See `RecordedPrompts`.
        generic: Another datamodule whose training images are mixed in, so that tuning on one kind
            of image does not unlearn all others.
        generic_share: Share of the training images that come from `generic`.
    """

    root: str
    val_fraction: float = 0.2
    test_fraction: float = 0.0
    split_folders: bool = True
    case_pattern: str | None = None
    max_samples_per_split: int | None = None
    skip_empty: bool = False
    min_area: int = 1
    on_missing: OnMissing = "error"
    check_files: bool = True
    channels: list[int] | None = None
    keep_depth: bool = False
    recorded_prompts: str | None = None
    generic: SplitDataModule | None = None
    generic_share: float = 0.25

    def __post_init__(self) -> None:
        use_example(self)
        super().__post_init__()
        self._splits: dict[Split, Sequence[Record]] | None = None
        self._recorded: RecordedPrompts | None = None

    @abstractmethod
    def index(self) -> Iterable[Record]:
        """Find all samples below `self.folder`; must not decode pixels."""

    @abstractmethod
    def read(self, record: Record) -> Sample:
        """Read one sample; runs in the loaders' workers, must not depend on earlier calls."""

    def source(self, record: Record) -> Source:
        """Return the whole image or volume that a record is a part of."""
        name = record.sample_id
        if record.slice_index is not None:
            name = name.rpartition("/")[0]
        return open_source(name, record.images, Preprocessing(axis=AXES[record.axis]))

    @property
    def num_channels(self) -> int:
        """C, channels of the images: 3, or as many as are chosen beyond that."""
        return num_delivered(self.channels)

    @property
    def repeats(self) -> bool:
        """Whether a training image comes again in later epochs, those of `generic` included."""
        return self.variants is not None or (self.generic is None and super().repeats)

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
            found = self._unique(collect_records(self.index()))
            splits = self._split(found)
            if self.skip_empty:
                splits["train"] = self._without_empty(splits["train"])
            for split, records in splits.items():
                splits[split] = limit_records(records, self.max_samples_per_split, seed=self.seed)
                if self.check_files:
                    self.check(splits[split])
                for record in splits[split][:1]:  # what headers do not tell: colours and values
                    self.read(record)
            if self.recorded_prompts is not None:
                self._recorded = self._read_recorded(self.recorded_prompts, found)
            if self.generic is not None:
                self.generic.prepare_index()
            self._splits = splits
            counts = ", ".join(f"{split} {len(splits[split])}" for split in SPLITS)
            _log.info("images in %s: %s", self.folder, counts)

    def records(self, split: Split) -> Sequence[Record]:
        """Return the records of a split."""
        self.prepare_index()
        assert self._splits is not None  # just made
        return self._splits[split]

    @property
    def recorded(self) -> RecordedPrompts | None:
        """What `recorded_prompts` holds, for training."""
        self.prepare_index()
        return self._recorded

    def dataset(self, split: Split, *, augment: bool = False) -> Samples:
        """Return a split as a data set of samples in the original frame.

        Args:
            split: Which.
            augment: As training sees it: with augmentation, and `generic` mixed in.
        """
        records = self.records(split)
        # A copy without what belongs to the main process is what travels to the workers.
        reader = copy.copy(self)
        reader.trainer, reader._tallies = None, {}
        reader._recorded, reader.generic = None, None
        own = SampleDataset(
            records,
            reader.read,
            transform=self.transform if augment else None,
            min_area=self.min_area,
            tally=self.tally(split),
            source=reader.source,
        )
        if self.generic is None or not augment:
            return own
        return MixedSamples(
            own, self.generic.dataset("train", augment=True), share=self.generic_share
        )

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

    def _split(self, records: Sequence[Record]) -> dict[Split, Sequence[Record]]:
        return assign_splits(
            with_folder_splits(records, self.folder) if self.split_folders else records,
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            seed=self.seed,
        )

    def check(self, records: Sequence[Record]) -> None:
        """Look at every file from outside; domains with more to compare extend it.

        Raises:
            DatasetError: naming the first file that is wrong.
        """
        check_files(records, every_channel=self.channels is not None)

    def _read_recorded(self, file: str, records: Sequence[Record]) -> RecordedPrompts:
        """Read the prompts of `records`, which the file names by sample or by file name."""
        by_sample = {Path(record.sample_id): record for record in records}
        names = Counter(record.images[0].name for record in records)
        images = {
            record.images[0].name: sample
            for sample, record in by_sample.items()
            if names[record.images[0].name] == 1
        } | {record.sample_id: sample for sample, record in by_sample.items()}
        return RecordedPrompts.read(
            Path(file).expanduser(), images, lambda sample: self.read(by_sample[sample]).size
        )

    def _without_empty(self, records: Sequence[Record]) -> Sequence[Record]:
        dataset = SampleDataset(records, self.read, min_area=self.min_area)
        kept = collect_records(r for i, r in enumerate(records) if dataset[i].num_objects > 0)
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

    def _unique(self, records: Sequence[Record]) -> Sequence[Record]:
        double = find_repeated(records)
        if double is None:
            return records
        raise DatasetError(
            "two samples have the same name",
            where=double.images[0],
            found=double.sample_id,
            fix="rename one, or narrow data.images",
        )

    def _size(self, split: Split) -> int:
        return len(self.records(split))

    def _no_split(self, what: str, *, split: Split) -> DatasetError:
        fix = "make a folder test/ beside train/, or set data.test_fraction as in training"
        if split == "val":
            fix = "set data.test_fraction, or name images with samft predict --source"
        return DatasetError(what, where=self.folder, fix=fix)

    def _min_area(self) -> int:
        return self.min_area

    def _check_settings(self) -> None:
        super()._check_settings()
        for name in ("max_samples_per_split", "min_area"):
            self._check_at_least(name, 1)
        check_fractions(self.val_fraction, self.test_fraction)
        if self.generic is not None and self.generic.num_channels != self.num_channels:
            raise ConfigError(
                "images that are mixed must have as many channels",
                where="data.generic",
                found=self.generic.num_channels,
                expected=f"{self.num_channels}, as by data.channels",
            )
        if not 0 <= self.generic_share < 1:
            raise ConfigError(
                "the setting is out of range",
                where="data.generic_share",
                found=self.generic_share,
                expected="at least 0 and below 1",
            )
        if self.recorded_prompts is not None and preset_names(self.transforms):
            raise ConfigError(
                "recorded prompts need images that stay as they are",
                where="data.recorded_prompts",
                found=f"data.transforms {self.transforms}",
                fix="set data.transforms to none",
            )
        try:
            re.compile(self.case_pattern or "")
        except re.error as error:
            raise ConfigError(
                "the pattern is no regular expression",
                where="data.case_pattern",
                found=f"{self.case_pattern!r}: {error}",
            ) from error
