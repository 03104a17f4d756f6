"""Looks at records one after the other, or in several processes, and remembers what it saw."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Final

from samft.data.checking.cache import FactsCache
from samft.data.checking.facts import Facts
from samft.data.checking.inspection import Inspector, pieces_of
from samft.data.records import Record
from samft.errors import MachineError

_AHEAD: Final = 4  # records a process has waiting


class Survey:
    """Yields facts, remembered or computed now, in the order of the records.

    Args:
        cache: What is remembered.

    Attributes:
        remembered: Records whose files had not changed.
    """

    def __init__(self, cache: FactsCache) -> None:
        self.cache = cache
        self.remembered = 0

    def all(self, inspector: Inspector, records: Sequence[Record], workers: int) -> Iterator[Facts]:
        """Look at all records.

        Args:
            inspector: Looks at one.
            records: All of them.
            workers: Processes besides this one; 0 for none.

        Raises:
            MachineError: if a process was killed.
        """
        if workers < 1:
            for record in records:
                state = self.cache.state(pieces_of(record))
                facts = self._known(record, state)
                yield facts or self._keep(record, state, inspector(record))
            return
        context = get_context("spawn")  # torch's threads do not survive a fork
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start, initargs=(inspector,)
        ) as pool:
            try:
                yield from self._parallel(pool, records, workers)
            except BrokenProcessPool as error:
                raise MachineError(
                    "a process that looked at images was killed",
                    where="--workers",
                    found="most likely there was no memory left",
                    fix=f"give less than --workers {workers}, such as --workers 0",
                ) from error

    def _parallel(
        self, pool: ProcessPoolExecutor, records: Sequence[Record], workers: int
    ) -> Iterator[Facts]:
        waiting: deque[tuple[Record, str | None, Facts | Future[Facts]]] = deque()
        for record in records:
            state = self.cache.state(pieces_of(record))
            facts = self._known(record, state)
            waiting.append((record, state, facts or pool.submit(_inspect, record)))
            if len(waiting) > _AHEAD * workers:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _next(self, waiting: deque[tuple[Record, str | None, Facts | Future[Facts]]]) -> Facts:
        record, state, given = waiting.popleft()
        return given if isinstance(given, Facts) else self._keep(record, state, given.result())

    def _known(self, record: Record, state: str | None) -> Facts | None:
        facts = self.cache.get(record.sample_id, state)
        self.remembered += int(facts is not None)
        return facts

    def _keep(self, record: Record, state: str | None, facts: Facts) -> Facts:
        self.cache.put(record.sample_id, state, facts)
        return facts


_inspector: Inspector | None = None
"""That of a worker process."""


def _start(inspector: Inspector) -> None:
    global _inspector  # noqa: PLW0603  # a process has one, so that it is not sent with every record
    _inspector = inspector


def _inspect(record: Record) -> Facts:
    assert _inspector is not None  # the process was started with one
    return _inspector(record)
