"""From records to samples, one at a time, wherever a loader's worker happens to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch.utils.data import Dataset

from samft.data.augmentation.base import Transform
from samft.data.objects import drop_small
from samft.data.sources import Source
from samft.data.tally import Tally
from samft.types import Sample

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class SampleKey:
    """What a sampler asks for.

    Args:
        index: Which sample.
        seed: Decides everything random about it.
    """

    index: int
    seed: int


class SampleDataset(Dataset[Sample], Generic[Item]):
    """Reads, cleans and augments samples.

    The same key gives the same sample in any process and at any time.

    Args:
        records: What there is: a `Record` each, or where else a sample comes from.
        read: Turns one of them into a sample.
        transform: Augmentation, or `None`.
        min_area: Objects of fewer pixels, as read from the file, become background.
        tally: Counts what is dropped, or `None`.
        source: Returns the whole image or volume that a record is a part of.
    """

    def __init__(
        self,
        records: Sequence[Item],
        read: Callable[[Item], Sample],
        *,
        transform: Transform | None = None,
        min_area: int = 1,
        tally: Tally | None = None,
        source: Callable[[Item], Source] | None = None,
    ) -> None:
        self.records = records
        self.read = read
        self.transform = transform
        self.min_area = min_area
        self.tally = tally
        self.source = source

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Return the sample; a bare index means no augmentation seed of its own (0)."""
        chosen = key if isinstance(key, SampleKey) else SampleKey(key, 0)
        sample, dropped = drop_small(self.read(self.records[chosen.index]), self.min_area)
        if self.tally is not None:
            self.tally.add(small=dropped, images=1)
        return sample if self.transform is None else self.transform(sample, chosen.seed)
