"""Plays the allocations of a step on an allocator: how much is held at most, and by what."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from samft.planning.allocators import Allocator
from samft.planning.tracker import History


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that a history holds.

    Args:
        held: Bytes that the allocator takes from the system.
        parts: Bytes of the tensors, by label, when there were most of them.
    """

    held: int
    parts: dict[str, int]

    @property
    def gaps(self) -> int:
        """Bytes held that the tensors never fill."""
        return self.held - sum(self.parts.values())


def play(history: History, allocator: Allocator) -> Peak:
    """Return the peak of `history` on a fresh `allocator`."""
    places: dict[int, int] = {}
    now: Counter[str] = Counter()
    at_peak: dict[str, int] = {}
    live = most = 0
    for event in history.events:
        number = event if event >= 0 else ~event
        size, label = history.sizes[number], history.labels[number]
        if event < 0:
            now[label] -= size
            live -= size
            allocator.free(places.pop(number))
            continue
        now[label] += size
        live += size
        places[number] = allocator.allocate(size)
        if live > most:
            most, at_peak = live, dict(now)
    return Peak(allocator.held, at_peak)
