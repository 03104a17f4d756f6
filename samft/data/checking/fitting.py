"""Whether masks were flipped or turned, told by all outlines together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from samft.data.checking.findings import MAX_PER_CODE, Finding
from samft.data.checking.likeness import WAYS

_GOOD = 1.5  # edges on outlines are so much stronger than elsewhere
_BETTER = 1.3  # enough where nearly all masks agree
_MUCH_BETTER: Final = 2.2  # for a single mask
_LEAST_IMAGES = 3
_MOST_OF_THEM = 0.8


class FitTally:
    """Counts how outlines fit best.

    A single mask is only accused among many that fit; a whole set only if all agree.
    """

    def __init__(self) -> None:
        self._images = self._aligned = 0
        self._better: Counter[int] = Counter()
        self._first: dict[int, str] = {}
        self._suspects: list[tuple[str, int, float, float]] = []

    def add(self, fit: tuple[float, ...], name: str) -> None:
        """Take the fit of one image, as `likeness.fit_of` gives it."""
        if not fit:
            return
        self._images += 1
        now, best = fit[0], max(fit)
        way = fit.index(best)
        self._aligned += int(now >= _GOOD)
        if way == 0 or best < _GOOD or best < _BETTER * now:
            return
        self._better[way] += 1
        self._first.setdefault(way, name)
        if best >= _MUCH_BETTER * now and len(self._suspects) < MAX_PER_CODE:
            self._suspects.append((name, way, now, best))

    def findings(self) -> Iterator[Finding]:
        """Say which masks, or that all of them, lie the wrong way round."""
        way, count = max(self._better.items(), key=lambda item: item[1], default=(0, 0))
        if count >= max(_LEAST_IMAGES, _MOST_OF_THEM * self._images):
            yield _finding(self._first[way], way, f"outlines of {count} of {self._images} masks")
        elif self._aligned >= max(_LEAST_IMAGES, _MOST_OF_THEM * self._images):
            for name, way, now, best in self._suspects:
                yield _finding(
                    name, way, f"edges at outlines {now:.1f} times the mean, not {best:.1f}"
                )

    @property
    def images(self) -> int:
        """How many images told something."""
        return self._images


def _finding(name: str, way: int, found: str) -> Finding:
    return Finding(
        code="orientation",
        file=name,
        found=f"{found}: the mask fits if {WAYS[way]}",
        expected="outlines where the image has edges",
        fix="undo that in the mask, and look at samft check --preview",
    )
