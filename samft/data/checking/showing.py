"""Which images stand for a data set when it is drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from samft.data.checking.facts import Facts
from samft.data.records import Record, Split

_MOST = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A record that may be drawn.

    Args:
        record: The record.
        split: Its split.
        classes: The classes it has, by index; none without objects.
    """

    record: Record
    split: Split | None
    classes: frozenset[int]


class Examples:
    """Keeps readable records spread evenly over a set of any size."""

    def __init__(self) -> None:
        self._kept: list[Example] = []
        self._step, self._seen = 1, 0

    def add(self, record: Record, facts: Facts, split: Split | None) -> None:
        """Take a record, if it can be read and its turn has come."""
        if not facts.readable:
            return
        if self._seen % self._step == 0:
            self._kept.append(Example(record=record, split=split, classes=frozenset(facts.classes)))
            if len(self._kept) == _MOST:
                self._kept, self._step = self._kept[::2], 2 * self._step
        self._seen += 1

    def choose(self, count: int) -> list[Example]:
        """Return some, with every split and class among them where there is room.

        Those with objects come first; among equals, what was drawn least.

        Args:
            count: How many at most.
        """
        seen: Counter[object] = Counter()
        left = list(enumerate(self._kept))
        spread = max(1, len(left) // max(1, count))
        chosen: list[tuple[int, Example]] = []
        while left and len(chosen) < count:
            # Ties go to the image that is farthest from those already chosen.
            best = min(
                left, key=lambda item: (_drawn(item[1], seen), _near(item[0], chosen, spread))
            )
            left.remove(best)
            chosen.append(best)
            seen.update([("split", best[1].split), *best[1].classes])
        return [example for _, example in sorted(chosen, key=lambda item: item[0])]


def _drawn(example: Example, seen: Counter[object]) -> tuple[bool, int, int]:
    rarest = min((seen[index] for index in example.classes), default=0)
    return not example.classes, rarest, seen["split", example.split]


def _near(row: int, chosen: list[tuple[int, Example]], spread: int) -> bool:
    return any(abs(row - other) < spread for other, _ in chosen)
