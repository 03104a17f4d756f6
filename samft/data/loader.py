"""A loader whose order and randomness are pure functions of (seed, epoch), and which can resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from samft.data.dataset import SampleKey
from samft.data.worker_errors import explained_failures
from samft.data.worker_signals import leave_signals_to_training
from samft.errors import ConfigError
from samft.seeding import derive_seed, generator_for

Batch = TypeVar("Batch")

_ORDER, _SAMPLE = 0, 1  # two independent streams of seeds
_SAME_RUN = {
    "seed": "data.seed",
    "batch_size": "data.batch_size",
    "world_size": "the number of devices",
    "samples": "the number of training samples",
    "mixed": "data.shuffle",
}


class ResumableSampler(DistributedSampler[SampleKey]):
    """Yields a `SampleKey` per sample of this process's part of the data.

    It is a `DistributedSampler` so that Lightning leaves it alone instead of wrapping it.

    Args:
        size: Number of samples.
        seed: Base seed of order and augmentation.
        shuffle: Draw a new order every epoch.
        rank: This process, from 0.
        world_size: Number of processes.
        pad: Give every process equally many samples by repeating the first few (training). Without,
            every sample goes to exactly one process (evaluation).
        variants: Seeds repeat after so many epochs; `None` for never.
    """

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        shuffle: bool,
        rank: int = 0,
        world_size: int = 1,
        pad: bool = True,
        variants: int | None = None,
    ) -> None:
        # The base class is not initialised: it wants a data set and a process group.
        self.size = size
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.num_replicas = world_size
        self.drop_last = False
        self.pad = pad
        self.variants = variants
        self.mixed = 0  # an order of another kind has another number
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        """Return the samples of this process in a whole epoch, whether or not some are skipped."""
        extra = self.num_replicas - 1 if self.pad else self.num_replicas - 1 - self.rank
        return (self.size + extra) // self.num_replicas

    def order(self) -> Tensor | None:
        """Return the order of all samples in this epoch, (size,) int64; `None` for theirs."""
        if not self.shuffle:
            return None
        return torch.randperm(self.size, generator=generator_for(_ORDER, self.seed, self.epoch))

    def position(self, place: int) -> int:
        """Return where in `order` a place of this process is."""
        return (place * self.num_replicas + self.rank) % self.size

    def __iter__(self) -> Iterator[SampleKey]:
        order = self.order()
        for place in range(self.skip, len(self)):
            position = self.position(place)
            index = position if order is None else int(order[position])
            variant = self.epoch % self.variants if self.variants else self.epoch
            yield SampleKey(index, derive_seed(_SAMPLE, self.seed, variant, index))


class ResumableLoader(DataLoader[Batch], Generic[Batch]):
    """A `DataLoader` that knows how far it got and can go on from there.

    Lightning saves and restores it with every checkpoint. `len()` is that of a whole epoch.

    Args:
        dataset: Takes a `SampleKey` and gives a sample.
        sampler: Order and seeds.
        batch_size: Samples per batch.
        num_workers: Worker processes; 0 loads in this one.
        collate_fn: Makes a batch of samples.
        after_pass: Called when the last batch of a pass is ready, or `None`.
    """

    def __init__(
        self,
        dataset: Dataset[Any],  # Any: the type of sample does not matter here
        sampler: ResumableSampler,
        *,
        batch_size: int,
        num_workers: int,
        collate_fn: Callable[[list[Any]], Batch],  # Any: as above
        after_pass: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            collate_fn=collate_fn,
            persistent_workers=num_workers > 0,
            worker_init_fn=leave_signals_to_training,
            generator=torch.Generator(),  # or it would draw from the global one every epoch
        )
        self.order = sampler
        self.after_pass = after_pass
        self._given = 0
        self._resume: dict[str, int] | None = None

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # torch says its own iterator
        self._given = 0 if self._resume is None else self._position()
        self._resume = None
        self.order.skip = self._given * (self.batch_size or 1)
        with explained_failures(self):
            for batch in super().__iter__():
                self._given += 1
                # Not after the loop: Lightning never asks for more than `len()` batches.
                if self._given == len(self) and self.after_pass is not None:
                    self.after_pass()
                yield batch

    def state_dict(self) -> dict[str, int]:
        """Return where in which epoch the loader is, and what that position depends on."""
        position = {"epoch": self.order.epoch, "batches": self._position(), "length": len(self)}
        return position | self._identity()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from a position in the next pass over the same epoch.

        Raises:
            ConfigError: if the middle of an epoch is to be continued with other settings, which
                would train some samples twice and others not at all.
        """
        now = self._identity()
        state_dict = {"mixed": 0} | state_dict  # which it was before there was a choice
        changed = [name for name in now if state_dict[name] != now[name]]
        if changed and 0 < state_dict["batches"] < state_dict["length"]:
            name = changed[0]
            raise ConfigError(
                "the run stopped in the middle of an epoch and cannot go on with other settings",
                where=_SAME_RUN[name],
                found=now[name],
                expected=state_dict[name],
                fix="use the old setting, or start a new run from these weights (model.weights)",
            )
        self._resume = dict(state_dict)

    def _position(self) -> int:
        """Return how many batches of this epoch were given, in this process or before."""
        if self._resume is None:
            return self._given
        same_epoch = self._resume["epoch"] == self.order.epoch
        return min(self._resume["batches"], len(self)) if same_epoch else 0

    def _identity(self) -> dict[str, int]:
        return {
            "seed": self.order.seed,
            "batch_size": self.batch_size or 1,
            "world_size": self.order.num_replicas,
            "samples": self.order.size,
            "mixed": self.order.mixed,
        }
