"""What images have to do with each other: copies, leaks between splits, frames of one sequence."""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from samft.data.checking.assignment import without_split_folders
from samft.data.checking.findings import Finding
from samft.data.records import Split

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)$")
_ALIKE = 6  # of 64 bits: the same picture but for noise
_RELATED = 12  # of 64 bits: the same scene a moment later
_MOST_COMPARED: Final = 1_000_000
_LEAST_PAIRS = 8
_SEQUENCE_SHARE = 0.5
_CHANCE = 0.05  # of pairs far apart may look the same


class Between:
    """Collects fingerprints, 16 bytes an image, and compares them at the end."""

    def __init__(self) -> None:
        self._digests = array("Q")
        self._likeness = array("Q")

    def add(self, digest: int, likeness: int) -> None:
        """Take the fingerprints of the next image; 0 is unknown."""
        self._digests.append(digest)
        self._likeness.append(likeness)

    def findings(
        self, names: Sequence[str], splits: Sequence[Split | None], *, grouped: bool
    ) -> Iterator[Finding]:
        """Compare all images.

        Args:
            names: Of the image files, in the order in which they were added.
            splits: Their splits.
            grouped: Whether images that belong together were told to, by `data.case_pattern`.
        """
        yield from self._copies(names, splits)
        if len(names) <= _MOST_COMPARED:
            yield from self._neighbours(names, splits, grouped=grouped)

    def _copies(self, names: Sequence[str], splits: Sequence[Split | None]) -> Iterator[Finding]:
        digests: NDArray[np.uint64] = np.array(self._digests, np.uint64)
        order = np.argsort(digests, kind="stable")
        ordered = digests[order]
        equal = np.flatnonzero((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)) + 1
        first = -1
        for row in equal.tolist():
            if first < 0 or ordered[first] != ordered[row]:
                first = row - 1
            original, copy = int(order[first]), int(order[row])
            leaks = splits[original] != splits[copy]
            yield Finding(
                code="leak-pixels" if leaks else "duplicate",
                file=names[copy],
                found=f"the same pixels as {names[original]}"
                + (f" ({splits[copy]} and {splits[original]})" if leaks else ""),
                expected="each image in one split" if leaks else "each image once",
                fix="delete one of them"
                + ("" if leaks else ", with its mask; drawn splits would part them"),
            )

    def _neighbours(
        self, names: Sequence[str], splits: Sequence[Split | None], *, grouped: bool
    ) -> Iterator[Finding]:
        pairs = list(_consecutive(names))
        # Images that are all alike, such as of eyes, are no frames of one film.
        half = len(pairs) // 2
        far = [self._distance(one, pairs[row - half][0]) for row, (one, _) in enumerate(pairs)]
        leaks = [
            (one, two)
            for one, two in pairs
            if splits[one] != splits[two]
            and self._digests[one] != self._digests[two]
            and self._distance(one, two) <= _ALIKE
        ]
        if leaks and sum(distance <= _ALIKE for distance in far) <= _CHANCE * len(far):
            yield _leak(leaks, names, splits)
        if any(splits) or grouped or len(pairs) < _LEAST_PAIRS:
            return
        near = [(one, two) for one, two in pairs if self._distance(one, two) <= _RELATED]
        chance = sum(distance <= _RELATED for distance in far)
        if len(near) >= max(_SEQUENCE_SHARE * len(pairs), 2 * chance):
            one, two = near[0]
            yield _sequence(len(near), len(pairs), names[one], names[two])

    def _distance(self, one: int, two: int) -> int:
        """Return how many of 64 bits differ; all of them where an image has no texture."""
        first, second = self._likeness[one], self._likeness[two]
        return (first ^ second).bit_count() if first and second else 64


def _leak(
    leaks: list[tuple[int, int]], names: Sequence[str], splits: Sequence[Split | None]
) -> Finding:
    one, two = leaks[0]
    return Finding(
        code="leak-neighbour",
        file=names[two],
        found=f"nearly the same picture as {names[one]} ({splits[two]} and {splits[one]})",
        expected="slices of a volume and frames of a film in one split",
        fix="move whole volumes or films between the folders, or split anew with "
        "data.split_folders: false and data.case_pattern",
        files=len(leaks),
    )


def _sequence(alike: int, pairs: int, one: str, two: str) -> Finding:
    stem = one.rpartition("/")[2]
    match = _NUMBERED.match(stem)
    prefix = re.escape(match.group(1)) if match else ""
    return Finding(
        code="sequence",
        file=one,
        found=f"{alike} of {pairs} neighbours by number show nearly the same, such as {two}",
        expected="frames of a film or slices of a volume in one split",
        fix=f"set data.case_pattern to what names the film, such as '({prefix})', and use several",
        files=alike,
    )


def _consecutive(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the rows of images that differ in a last number by one."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row, name in enumerate(names):
        match = _NUMBERED.match(without_split_folders(name))
        if match is not None and len(match.group(2)) <= 18:
            groups[match.group(1), match.group(3)].append((int(match.group(2)), row))
    for members in groups.values():
        members.sort()
        for (number, one), (following, two) in pairwise(members):
            if following - number == 1:
                yield one, two
