"""An order of samples in which a process reads from a few shards at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samft.data.loader import ResumableSampler
from samft.seeding import generator_for

_SHARDS = 2  # a stream of seeds of its own


class ShardSampler(ResumableSampler):
    """Shuffles shards, and the samples of a few neighbours among each other.

    Every process goes through shards of its own, so that a slow disk reads from few places; those
    at the seams are shared by two. Otherwise it is a `ResumableSampler`: each epoch another order,
    every sample once, and exact to resume.

    Args:
        sizes: How many samples lie in each shard; samples are numbered shard by shard.
        mixed: From how many shards samples are mixed.
        seed: Base seed of order and augmentation.
        rank: This process, from 0.
        world_size: Number of processes.
        variants: Seeds repeat after so many epochs; `None` for never.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        mixed: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        variants: int | None = None,
    ) -> None:
        super().__init__(
            sum(sizes), seed=seed, shuffle=True, rank=rank, world_size=world_size, variants=variants
        )
        self.sizes = tuple(sizes)
        self.mixed = mixed  # also tells a resumed run that the order is of this kind

    def order(self) -> Tensor:
        """Return the order of this epoch, that of one process after the other."""
        generator = generator_for(_SHARDS, self.seed, self.epoch)
        starts = torch.tensor([0, *self.sizes]).cumsum(0)
        shards = torch.randperm(len(self.sizes), generator=generator).tolist()
        parts: list[Tensor] = []
        for first in range(0, len(shards), self.mixed):
            together = torch.cat(
                [
                    torch.arange(int(starts[shard]), int(starts[shard + 1]))
                    for shard in shards[first : first + self.mixed]
                ]
            )
            parts.append(together[torch.randperm(len(together), generator=generator)])
        return torch.cat(parts)

    def position(self, place: int) -> int:
        """Return where in `order` a place of this process is."""
        return (self.rank * len(self) + place) % self.size
