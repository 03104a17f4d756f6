"""Edge pixels matched one to one with what people drew, as the BSDS500 benchmark does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

from samft.metrics.cases import share
from samft.metrics.thinning import thin

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

DISTANCE_RATIO = 0.0075
"""Farthest that matched edge pixels may be apart, as a share of the image's diagonal."""


def match_edges(first: Mask, second: Mask, *, distance_px: float) -> tuple[Mask, Mask]:
    """Match edge pixels one to one, as many as possible, none farther apart than the distance.

    The benchmark's own matching (`correspondPixels`) looks for the smallest sum of distances, with
    a price for pixels without a partner that is far above any distance. Both match the same number
    of pixels, up to the benchmark's random shortcuts; which of two pixels that want the same
    partner gets it may differ. That shows only where the matches with several people are united,
    by some 0.001 of precision.

    Args:
        first: (H, W) bool.
        second: (H, W) bool.
        distance_px: Euclidean, between pixel centres.

    Returns:
        The pixels of `first` and of `second` that have a partner, (H, W) bool each.

    Source: Martin et al. 2004, IEEE PAMI 26(5), section III.B; solved as a flow by Dinic's method.
    """
    return _matched(np.flatnonzero(first), _numbered(second, distance_px), distance_px)


def edge_counts(
    predicted: Floats | Mask,
    annotations: Sequence[Mask],
    *,
    thresholds: Floats,
    distance_ratio: float = DISTANCE_RATIO,
    thinned: bool = True,
) -> NDArray[np.int64]:
    """Count matched and all edge pixels of one image at each threshold.

    A predicted pixel is right if it has a partner in any annotation; recall asks each annotation
    for all its pixels.

    Args:
        predicted: (H, W) strength in [0, 1], or bool.
        annotations: The people's edges, (H, W) bool each.
        thresholds: (T,); an edge is where the strength is at least this.
        distance_ratio: See `DISTANCE_RATIO`.
        thinned: Whether to thin the edges at each threshold before they are matched, as the
            benchmark does. The annotations are taken as they are.

    Returns:
        (4, T) int64: true pixels found, true pixels, predicted pixels that are right, predicted.
    """
    distance = distance_ratio * math.hypot(*predicted.shape)
    numbered = [_numbered(annotation, distance) for annotation in annotations]
    total = sum(int(np.count_nonzero(annotation)) for annotation in annotations)
    counts = np.zeros((4, len(thresholds)), dtype=np.int64)
    counts[1] = total
    seen = (-1, (0, 0, 0))
    for index, threshold in enumerate(thresholds):
        edges: Mask = predicted >= threshold
        size = int(np.count_nonzero(edges))
        # Thresholds are nested: the same number of pixels is the same pixels.
        if size != seen[0]:
            pixels = np.flatnonzero(thin(edges) if thinned else edges)
            found, right = 0, np.zeros(edges.shape, dtype=bool)
            for each in numbered:
                own, theirs = _matched(pixels, each, distance)
                found += int(np.count_nonzero(theirs))
                right |= own
            seen = (size, (found, int(np.count_nonzero(right)), len(pixels)))
        counts[[0, 2, 3], index] = seen[1]
    return counts


def agreement_counts(
    annotations: Sequence[Mask], *, distance_ratio: float = DISTANCE_RATIO
) -> NDArray[np.int64]:
    """Count, as `edge_counts` does, each person's edges against those of all others.

    Args:
        annotations: At least two people's edges, (H, W) bool each.
        distance_ratio: See `DISTANCE_RATIO`.

    Returns:
        (4, 1) int64, summed over the people.

    Source: the human line of the plots of Martin et al. 2004.
    """
    total = np.zeros((4, 1), dtype=np.int64)
    for index, own in enumerate(annotations):
        others = [other for number, other in enumerate(annotations) if number != index]
        total += edge_counts(
            own, others, thresholds=np.ones(1), distance_ratio=distance_ratio, thinned=False
        )
    return total


def f_measure(counts: Floats | NDArray[np.int64]) -> float:
    """Return F of counts (4,) as `edge_counts` gives them at one threshold."""
    found, true, right, predicted = (float(each) for each in counts)
    precision, recall = share(right, predicted), share(found, true)
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _numbered(edges: Mask, distance_px: float) -> NDArray[np.int32]:
    """Return edge pixels numbered from 0, -1 elsewhere, with a margin as wide as the distance."""
    margin = math.floor(distance_px)
    numbers = np.full(np.array(edges.shape) + 2 * margin, -1, dtype=np.int32)
    inner = numbers[margin : margin + edges.shape[0], margin : margin + edges.shape[1]]
    inner[edges] = np.arange(np.count_nonzero(edges))
    return numbers


def _matched(
    pixels: NDArray[np.int64], numbers: NDArray[np.int32], distance_px: float
) -> tuple[Mask, Mask]:
    """Match pixels (flat indices into the image) with numbered edges, see `match_edges`."""
    margin = math.floor(distance_px)
    height, width = (side - 2 * margin for side in numbers.shape)
    matched = np.zeros((2, height, width), dtype=bool)
    rows, columns = pixels // width + margin, pixels % width + margin
    places = rows * numbers.shape[1] + columns
    steps = [down * numbers.shape[1] + right for down, right in _disc(distance_px)]
    near = numbers.reshape(-1)[places[:, None] + np.array(steps)]
    linked = near >= 0
    if not linked.any():
        return matched[0], matched[1]
    given, slot = np.nonzero(linked)
    chosen = _largest_matching(given, near[given, slot])
    matched[0].reshape(-1)[pixels[given[chosen]]] = True
    theirs = np.zeros(int(numbers.max()) + 1, dtype=bool)
    theirs[near[given, slot][chosen]] = True
    inner = numbers[margin : margin + height, margin : margin + width]
    matched[1][inner >= 0] = theirs
    return matched[0], matched[1]


def _largest_matching(first: NDArray[np.int64], second: NDArray[np.int32]) -> Mask:
    """Return which of the links (pairs of numbers) make up a matching with the most links."""
    (firsts, row), (seconds, column) = (
        np.unique(side, return_inverse=True) for side in (first, second)
    )
    # As a flow from a source through both sides to a sink: on lines that run side by side for long
    # it takes milliseconds where scipy's bipartite matching takes seconds.
    source, sink = len(firsts) + len(seconds), len(firsts) + len(seconds) + 1
    starts = np.concatenate([np.full(len(firsts), source), row, np.arange(len(firsts), source)])
    ends = np.concatenate(
        [np.arange(len(firsts)), column + len(firsts), np.full(len(seconds), sink)]
    )
    capacity = csr_array(
        (np.ones(len(starts), dtype=np.int32), (starts, ends)), shape=(sink + 1,) * 2
    )
    flow = maximum_flow(capacity, source, sink).flow
    used: Mask = np.asarray(flow[row, column + len(firsts)]).reshape(-1) > 0
    return used


def _disc(radius_px: float) -> Iterator[tuple[int, int]]:
    """Yield the steps (down, right) no longer than the radius, the shortest first."""
    reach = math.floor(radius_px)
    span = range(-reach, reach + 1)
    steps = [(y, x) for y in span for x in span if y * y + x * x <= radius_px**2]
    yield from sorted(steps, key=lambda step: step[0] ** 2 + step[1] ** 2)
