"""Whether reading an entry is faster than computing it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from samft.embeddings.store import EmbeddingStore


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadSpeed:
    """How fast entries were read.

    Args:
        seconds: Median time of one entry.
        entry_bytes: Mean size of an entry.
        num_entries: Entries that were read.
    """

    seconds: float
    entry_bytes: int
    num_entries: int

    @property
    def bytes_per_second(self) -> float:
        """Throughput."""
        return self.entry_bytes / self.seconds

    def faster_than(self, encoder_seconds: float, *, margin: float = 1.0) -> bool:
        """Tell whether the cache pays.

        Args:
            encoder_seconds: Time in which the frozen part computes one image.
            margin: How many times faster reading must be.
        """
        return self.seconds * margin < encoder_seconds


def measure_read(
    store: EmbeddingStore,
    *,
    count: int = 8,
    cold: bool = True,
    timer: Callable[[], float] = time.perf_counter,
) -> ReadSpeed | None:
    """Read entries from all over the store, every byte of them, and take the time.

    Args:
        store: The store.
        count: How many entries.
        cold: Whether the system is asked to drop them from memory before, which Linux does: then
            the disk is measured, the worst case. A store that fits into memory is read from there
            from the second epoch on.
        timer: A clock, in seconds.

    Returns:
        `None` if the store has no readable entry.
    """
    entries = store.entries
    chosen = entries[:: max(1, len(entries) // count)][:count]
    times, sizes = [], []
    for entry in chosen:
        if cold:
            store.forget(entry)
        start = timer()
        tensor = store.get(entry)
        if tensor is None:
            continue
        tensor.clone()  # a view alone reads nothing
        times.append(timer() - start)
        sizes.append(tensor.nbytes)
    if not times:
        return None
    return ReadSpeed(
        seconds=median(times), entry_bytes=sum(sizes) // len(sizes), num_entries=len(times)
    )
