"""Data sets in tar files, as SA-1B and webdataset have them, with millions of images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import UNNAMED, class_table
from samft.data.dataset import SampleDataset
from samft.data.loader import ResumableSampler
from samft.data.pairing import OnMissing
from samft.data.pictures import num_delivered
from samft.data.preprocessing import Preprocessing
from samft.data.readers.limits import check_file_size, reading
from samft.data.records import SPLITS, Split
from samft.data.roots import resolve_root
from samft.data.shards.decoding import ShardDecoding
from samft.data.shards.finding import find_shards, split_of_shard
from samft.data.shards.order import ShardSampler
from samft.data.shards.shard_set import ShardEntry, ShardSet, open_shards
from samft.data.shards.splitting import split_shards, unlabelled_rows
from samft.data.shards.writer import CLASSES_FILE
from samft.data.split_datamodule import SplitDataModule
from samft.data.splits import check_fractions
from samft.errors import DatasetError
from samft.types import Sample

_log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False, repr=False)
class ShardedDataModule(SplitDataModule):
    """Loads images with masks from tar files, in which the files of a sample share a name.

    Images are `.jpg`, `.png`, `.webp` or `.tif`. Their objects are in `.json` (SA-1B's, or COCO's
    annotations of one image: run lengths or polygons) or in a label image: `.mask.png`, `.seg.png`,
    `.label.tif`, or a `.png` beside a `.jpg`. A `.cls` with a number or name is the class of all
    objects of an image. Nothing is unpacked; where the files lie is looked up once and kept in the
    cache folder.

    Args:
        root: Folder of the shards; `~` works.
        shards: Which of its files: a glob pattern, or names such as `sa_{000000..000999}.tar`.
        val_fraction: Share for validation, where no shard is for it by its folder or name.
        test_fraction: Share for testing, likewise.
        split_folders: Shards in folders named train, val and test, or whose names begin so, are for
            that split, if there are any for training.
        split_by: Draw whole shards (shard), or single samples by a hash of their names (sample).
        shuffle: Mix the samples of all shards (full), or only of a few shards at a time (shards),
            for disks that are slow to seek.
        mixed_shards: From how many shards samples are mixed with `shuffle: shards`.
        max_samples_per_split: Use only so many samples of each split, for quick trials.
        classes: Names of the classes: of outlines, those of `categories` in their file; of masks, a
            list for the values 1, 2, ..., or by value as in `{1: fish, 255: diver}`. Without, every
            outline or value of a mask is an object of one class.
        ignore_value: The mask value of pixels of which nothing is known.
        min_area: Objects of fewer pixels in the file become background; how many is logged.
        on_missing: What to do with images without labels: error or skip.
        channels: Channels of the files to use, by number from 0 and in this order; default: all, at
            most three. More than three stay as they are.
        keep_depth: Keep the grey levels of images of more than 8 bits, scaled to 0..255.
    """

    root: str
    shards: str = "**/*.tar"
    val_fraction: float = 0.02
    test_fraction: float = 0.0
    split_folders: bool = True
    split_by: Literal["shard", "sample"] = "shard"
    shuffle: Literal["full", "shards"] = "full"
    mixed_shards: int = 8
    max_samples_per_split: int | None = None
    classes: list[str] | dict[int, str] | None = None
    ignore_value: int | None = None
    min_area: int = 1
    on_missing: OnMissing = "error"
    channels: list[int] | None = None
    keep_depth: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._splits: dict[Split, ShardSet] | None = None
        self._decoding = ShardDecoding()

    @property
    def folder(self) -> Path:
        """The resolved data root."""
        return resolve_root(self.root)

    @property
    def num_channels(self) -> int:
        """C, channels of the images: 3, or as many as are chosen beyond that."""
        return num_delivered(self.channels)

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, known once the data was indexed."""
        self.prepare_index()
        return self._decoding.class_names

    def prepare_index(self) -> None:
        """Find, open and split the shards, and read the first sample of every split.

        Raises:
            SamftError: for everything that is wrong with the data.
        """
        if self._splits is not None:
            return
        root = self.folder
        self._decoding = self._found_decoding(root)
        shards = ShardSet(root, open_shards(find_shards(root, self.shards)))
        splits = split_shards(
            shards,
            [
                split_of_shard(root, shard.path) if self.split_folders else None
                for shard in shards.shards
            ],
            by=self.split_by,
            fractions={"val": self.val_fraction, "test": self.test_fraction},
            seed=self.seed,
            without=self._unlabelled(shards),
            limit=self.max_samples_per_split,
        )
        for chosen in splits.values():
            if len(chosen):
                self._decoding.sample(chosen, chosen[0])
        self._splits = splits
        counts = ", ".join(f"{split} {len(splits[split])}" for split in SPLITS)
        _log.info("images in %d shards of %s: %s", len(shards.shards), root, counts)

    def entries(self, split: Split) -> ShardSet:
        """Return where the samples of a split lie."""
        self.prepare_index()
        assert self._splits is not None  # just made
        return self._splits[split]

    def dataset(self, split: Split, *, augment: bool = False) -> SampleDataset[ShardEntry]:
        """Return a split as a data set of samples in the original frame."""
        entries = self.entries(split)
        return SampleDataset(
            entries,
            _Reader(self._decoding, entries),
            transform=self.transform if augment else None,
            min_area=self.min_area,
            tally=self.tally(split),
        )

    def _unlabelled(self, shards: ShardSet) -> NDArray[np.uint32]:
        rows = unlabelled_rows(shards)
        if rows.size and self.on_missing == "error":
            raise DatasetError(
                "an image in a shard has no labels",
                where=shards.name(shards[int(rows[0])]),
                found=f"{rows.size} of {len(shards)} images",
                expected="a .json or .mask.png with the name of each image",
                fix="leave them out with data.on_missing: skip",
            )
        if rows.size:
            _log.warning("%d images without labels are left out", rows.size)
        return rows

    def _found_decoding(self, root: Path) -> ShardDecoding:
        table = None
        if self.classes is not None:
            table = class_table(self.classes, ignore_value=self.ignore_value)
        return ShardDecoding(
            class_names=_written_classes(root) if table is None else table.names,
            table=table,
            ignore_value=self.ignore_value,
            preprocessing=Preprocessing(
                channels=None if self.channels is None else tuple(self.channels),
                keep_depth=self.keep_depth,
            ),
        )

    def _sampler(self, size: int, *, train: bool) -> ResumableSampler:
        if not train or self.shuffle == "full":
            return super()._sampler(size, train=train)
        rank, world_size = self._share()
        return ShardSampler(
            self.entries("train").sizes,
            mixed=self.mixed_shards,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            variants=self.variants,
        )

    def _size(self, split: Split) -> int:
        return len(self.entries(split))

    def _no_split(self, what: str, *, split: Split) -> DatasetError:
        fix = "put shards into a folder test/, or set data.test_fraction as in training"
        if split == "val":
            fix = "set data.test_fraction or data.val_fraction"
        return DatasetError(what, where=self.folder, fix=fix)

    def _min_area(self) -> int:
        return self.min_area

    def _check_settings(self) -> None:
        super()._check_settings()
        for name in ("max_samples_per_split", "min_area", "mixed_shards"):
            self._check_at_least(name, 1)
        check_fractions(self.val_fraction, self.test_fraction)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Travels to the workers in place of the datamodule."""

    decoding: ShardDecoding
    entries: ShardSet

    def __call__(self, entry: ShardEntry) -> Sample:
        return self.decoding.sample(self.entries, entry)


def _written_classes(root: Path) -> tuple[str, ...]:
    """Return the classes that were written beside the shards when they were packed."""
    path = root / CLASSES_FILE
    if not path.is_file():
        return (UNNAMED,)
    with reading(path, "names of classes, one a line"):
        check_file_size(path)
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(name for name in names if name) or (UNNAMED,)
