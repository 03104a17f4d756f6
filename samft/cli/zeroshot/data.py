"""Data sets of a zero-shot experiment: opened as training opens them, then cut down to a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from torch.utils.data import DataLoader, Dataset

from samft.data.datamodule import SamDataModule
from samft.data.records import SPLITS, Split
from samft.data.split_datamodule import SplitDataModule
from samft.errors import DatasetError
from samft.evaluation.data_facts import shown_root
from samft.types import Sample

SplitChoice = Literal["test", "val", "train", "all"]
SPLIT_CHOICES: Final[tuple[SplitChoice, ...]] = ("test", "val", "train", "all")
MANY: Final = 1.5
"""How many times more masks than wanted a set must have to be cut down: 15,000 for 10,000."""

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""(items, what is done, how many) to the same items, with progress shown."""


@dataclass(kw_only=True, eq=False)
class OpenData(Dataset[Sample]):
    """Some images of one data set, in a fixed order.

    Args:
        name: For tables and files.
        root: As it was given.
        module: Reads the images.
        splits: What the images are taken from.
        keys: Split and index in it of each image.
        notes: What a reader must know of the choice.
    """

    name: str
    root: str
    module: SplitDataModule
    splits: tuple[Split, ...]
    keys: list[tuple[Split, int]]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sets = {split: self.module.dataset(split) for split in self.splits}

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        split, number = self.keys[index]
        return self._sets[split][number]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the objects; empty where they have none."""
        return tuple(self.module.class_names)

    @property
    def described_splits(self) -> str:
        """Return the splits in words."""
        if self.splits in (("test",), ("val",)):
            return f"the {self.splits[0]} split"
        undivided = self.splits == ("train",) and not _has_own_split(self.module, "train")
        return "all there is" if undivided else f"the splits {' + '.join(self.splits)}"

    def samples(self) -> Iterable[Sample]:
        """Return the images one after another, read ahead by `data.num_workers` processes."""
        workers = self.module.num_workers
        loader: DataLoader[Sample] = DataLoader(
            self, batch_size=None, num_workers=workers, collate_fn=_as_it_is
        )
        return loader

    def sample_ids(self) -> list[str]:
        """Return the ids of the images; reads them where no index knows these."""
        if isinstance(self.module, SamDataModule):
            records = {split: self.module.records(split) for split in self.splits}
            return [records[split][number].sample_id for split, number in self.keys]
        return [sample.sample_id for sample in self.samples()]

    def describe(self) -> dict[str, Any]:  # Any: JSON
        """Return what a result says of the data; of an absolute path only the last part."""
        return {
            "name": self.name,
            "root": shown_root(self.root),
            "split": list(self.splits),
            "images": len(self),
            "classes": list(self.class_names),
            "notes": self.notes,
        }


def choose_splits(
    module: SplitDataModule, wanted: SplitChoice | None, *, own: bool = False
) -> tuple[Split, ...]:
    """Return what images are taken from.

    Args:
        module: The data.
        wanted: What was asked for; `None` for the test split, or else the validation split that the
            data itself has, or else everything.
        own: The data is that of a trained model, so that training images would flatter it.

    Raises:
        DatasetError: if the split that was asked for is empty.
    """
    sizes = {split: len(module.dataset(split)) for split in SPLITS}
    if wanted == "all":
        return tuple(split for split in SPLITS if sizes[split])
    if wanted is not None:
        if not sizes[wanted]:
            raise DatasetError(
                f"there is no {wanted} split",
                where="--split",
                found=", ".join(f"{split} {size}" for split, size in sizes.items()),
                fix="choose another --split, or set --data.test_fraction or --data.val_fraction",
            )
        return (wanted,)
    if sizes["test"]:
        return ("test",)
    if sizes["val"] and (own or _has_own_split(module, "val")):
        return ("val",)
    return tuple(split for split in SPLITS if sizes[split])


def choose_images(
    data: OpenData, *, max_images: int, max_masks: int, seed: int, track: Track
) -> None:
    """Cut a data set down: to some images, then to about so many masks, by whole images.

    Which images stay depends on nothing but their number and the seed.

    Args:
        data: All its images; changed in place.
        max_images: Most images; 0 for all.
        max_masks: About how many masks a set keeps that has more than `MANY` times as many; 0 for
            all. Objects are counted by reading the images.
        seed: Of the choice.
        track: Shows how far the counting is.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix D.1: sets of more than 15k masks are
    cut down to about 10k.
    """
    total = len(data)
    order = np.random.default_rng(seed).permutation(total).tolist()
    if max_images and max_images < total:
        order = order[:max_images]
        data.notes.append(f"{max_images} of {total} images, drawn with seed {seed}")
    if max_masks:
        kept = _enough(data, order, max_masks, track)
        if kept < len(order):
            data.notes.append(
                f"more than {int(MANY * max_masks):,} masks: {kept} of {len(order)} images with "
                f"about {max_masks:,} masks, drawn with seed {seed}"
            )
            order = order[:kept]
    data.keys = [data.keys[index] for index in sorted(order)]


def _enough(data: OpenData, order: Sequence[int], max_masks: int, track: Track) -> int:
    """Return how many images, in this order, have enough masks; all if there are not too many."""
    count, kept = 0, len(order)
    for place, index in enumerate(track(order, "counting objects", len(order)), start=1):
        before, count = count, count + data[index].num_objects
        if before < max_masks <= count:
            kept = place
        if count > MANY * max_masks:
            return kept
    return len(order)


def _has_own_split(module: SplitDataModule, split: Split) -> bool:
    """Whether the data itself says what belongs to a split, rather than that being drawn."""
    if not isinstance(module, SamDataModule):
        return True
    return any(record.split == split for record in module.records(split))


def _as_it_is(sample: Any) -> Any:  # Any: a sample; torch thinks of lists of them
    return sample


def unique_names(names: Iterable[str]) -> list[str]:
    """Return names that tell data sets or models apart: repeated ones get a number."""
    found: list[str] = []
    for name in names:
        number, tried = 1, name
        while tried in found:
            number += 1
            tried = f"{name}-{number}"
        found.append(tried)
    return found


def name_of_root(root: str) -> str:
    """Return what a data set is called by: the last part of its path, or of what it is."""
    return Path(root).name or root
