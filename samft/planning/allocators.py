"""How allocators lay memory out: what a process holds is more than what its tensors fill.

Between tensors of different sizes gaps remain into which the next one does not fit. How much that
is depends on the order of allocations, so a step is played through.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Protocol

_MIB = 2**20


class Allocator(Protocol):
    """Hands out places in memory."""

    @property
    def held(self) -> int:
        """Bytes taken from the system so far, used or not."""
        ...

    def allocate(self, size: int) -> int:
        """Take `size` bytes and return the place."""
        ...

    def free(self, place: int) -> None:
        """Give the place back."""
        ...


class _Gaps:
    """The free ranges of an address space; neighbours are one range."""

    def __init__(self) -> None:
        self._by_size: list[tuple[int, int]] = []  # (size, start), sorted
        self._start_of: dict[int, int] = {}  # by end
        self._end_of: dict[int, int] = {}  # by start

    def take(self, size: int) -> tuple[int, int] | None:
        """Remove the smallest range of `size` bytes or more: (start, end)."""
        at = bisect_left(self._by_size, (size, 0))
        if at == len(self._by_size):
            return None
        length, start = self._by_size[at]
        self._remove(start, start + length)
        return start, start + length

    def take_before(self, end: int) -> int:
        """Remove the range that ends at `end` and return its start; `end` if there is none."""
        start = self._start_of.get(end, end)
        if start != end:
            self._remove(start, end)
        return start

    def put(self, start: int, end: int) -> None:
        """Add a range."""
        if start == end:
            return
        low = self.take_before(start)
        high = self._end_of.get(end, end)
        if high != end:
            self._remove(end, high)
        insort(self._by_size, (high - low, low))
        self._start_of[high], self._end_of[low] = low, high

    def _remove(self, start: int, end: int) -> None:
        del self._by_size[bisect_left(self._by_size, (end - start, start))]
        del self._start_of[end], self._end_of[start]


class CHeap:
    """The C library's heap as `samft.allocator` sets it up: one range that grows.

    The smallest gap that fits is used. Tensors are aligned to 64 bytes, for which glibc looks for a
    gap of 96 bytes more than it then uses. What is left over at the ends of a tensor goes to small
    objects, such as the nodes of the graph, and keeps the ranges on both sides apart until those
    are gone too: here, until the tensor and the three that came after it are.

    Source: glibc 2.36, `_int_memalign` (alignment plus `MINSIZE`) and the large bins of
        `_int_malloc`. Three: every allocation of four trainings, small ones included, replayed
        with glibc on 2026-11-21; it holds 1.4 to 2 times what the tensors fill.
    """

    _GRAIN, _LEFT_OVER, _NEXT = 64, 96, 3
    _SMALL = 4096  # bytes; smaller ones lie among the small objects

    def __init__(self) -> None:
        self.held = 0
        self._gaps = _Gaps()
        self._ends: dict[int, int] = {}
        self._numbers: dict[int, int] = {}  # of large tensors, by place
        self._count = 0
        self._live: set[int] = set()
        self._left_over: dict[int, int] = {}  # where it starts, by the number of the tensor

    def allocate(self, size: int) -> int:
        """Take `size` bytes and return the place."""
        is_large = size >= self._SMALL
        size = _rounded(size, self._GRAIN)
        needed = size + self._LEFT_OVER
        start, end = self._gaps.take(needed) or self._grown(needed)
        used = size if is_large else needed
        self._ends[start] = start + used
        self._gaps.put(start + needed, end)
        if is_large:
            self._numbers[start], self._left_over[self._count] = self._count, start + size
            self._live.add(self._count)
            self._count += 1
        return start

    def free(self, place: int) -> None:
        """Give the place back."""
        self._gaps.put(place, self._ends.pop(place))
        number = self._numbers.pop(place, None)
        if number is None:
            return
        self._live.remove(number)
        for each in range(max(0, number - self._NEXT), number + 1):
            following = range(each, each + self._NEXT + 1)
            if following.stop <= self._count and self._live.isdisjoint(following):
                start = self._left_over.pop(each)
                self._gaps.put(start, start + self._LEFT_OVER)

    def _grown(self, size: int) -> tuple[int, int]:
        start = self._gaps.take_before(self.held)
        self.held = start + size
        return start, self.held


class CudaCache:
    """PyTorch's caching allocator: segments of a few sizes, cut into blocks.

    Source: torch 2.10, c10/cuda/CUDACachingAllocator.cpp, with its default settings: requests of up
        to 1 MiB share segments of 2 MiB, those below 10 MiB segments of 20 MiB, and larger ones get
        a segment of their own in steps of 2 MiB.
    """

    _GRAIN, _SMALL, _SMALL_SEGMENT = 512, _MIB, 2 * _MIB
    _LARGE, _LARGE_SEGMENT, _STEP = 10 * _MIB, 20 * _MIB, 2 * _MIB

    def __init__(self) -> None:
        self.held = 0
        self._pools = {True: _Gaps(), False: _Gaps()}  # small, large
        self._blocks: dict[int, tuple[int, bool]] = {}  # end and pool of each block
        self._next = 0

    def allocate(self, size: int) -> int:
        """Take `size` bytes and return the place."""
        size = _rounded(size, self._GRAIN)
        small = size <= self._SMALL
        start, end = self._pools[small].take(size) or self._segment(size)
        rest = end - start - size
        if rest >= self._GRAIN if small else rest > self._SMALL:
            end = start + size
            self._pools[small].put(end, end + rest)
        self._blocks[start] = end, small
        return start

    def free(self, place: int) -> None:
        """Give the place back."""
        end, small = self._blocks.pop(place)
        self._pools[small].put(place, end)

    def _segment(self, size: int) -> tuple[int, int]:
        if size <= self._SMALL:
            length = self._SMALL_SEGMENT
        elif size < self._LARGE:
            length = self._LARGE_SEGMENT
        else:
            length = _rounded(size, self._STEP)
        self.held += length
        start = self._next
        self._next += length + self._GRAIN  # a hole, so that segments never become one gap
        return start, start + length


def _rounded(size: int, grain: int) -> int:
    return -(-size // grain) * grain
