"""Other images among the user's own, so that tuning on one kind does not unlearn all others."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from samft.data.dataset import SampleKey
from samft.data.split_datamodule import Samples
from samft.types import NO_CLASS, Sample

PREFIX = "generic/"
"""Stands before the `sample_id` and `case_id` of samples that were mixed in."""


class MixedSamples(Dataset[Sample]):
    """The user's samples, all of them, and behind them places for samples of another data set.

    Which of the other samples takes a place is drawn with the seed of the key, so that every epoch
    shows others. Their objects are of no class.

    Args:
        own: The user's samples.
        other: What is mixed in.
        share: Share of the places that are for `other`, at least 0 and below 1.
    """

    def __init__(self, own: Samples, other: Samples, *, share: float) -> None:
        self.own = own
        self.other = other
        self.places = round(len(own) * share / (1 - share))

    def __len__(self) -> int:
        return len(self.own) + self.places

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Return a sample; the same key gives the same one in any process."""
        chosen = key if isinstance(key, SampleKey) else SampleKey(key, key)
        if chosen.index < len(self.own):
            return self.own[key]
        if chosen.index >= len(self):
            raise IndexError(chosen.index)  # what makes a data set iterable
        sample = self.other[SampleKey(chosen.seed % len(self.other), chosen.seed)]
        return sample.replace(
            sample_id=PREFIX + sample.sample_id,
            case_id=PREFIX + sample.case_id,
            object_class=torch.full_like(sample.object_class, NO_CLASS),
        )
