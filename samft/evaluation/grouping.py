"""Over which objects models are compared: those all have answered, by size, by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np

from samft.evaluation.columns import Floats, Integers, ScoreTable

COCO_EDGES: Final = (32**2, 96**2)
"""Where COCO cuts between small, medium and large objects, pixels. Source: Lin et al. 2014,
cocodataset.org/#detection-eval."""
_COCO_NAMES: Final = ("small", "medium", "large")
_QUARTERS: Final = (0.25, 0.5, 0.75)


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeBin:
    """Objects of some size.

    Args:
        label: For tables, in pixels.
        low: Fewest pixels, included.
        high: Most pixels, not included; `None` for no limit.
    """

    label: str
    low: int
    high: int | None


def common_items(table: ScoreTable, prompt: str) -> Integers:
    """Return what every model that answers a prompt at all has answered, ascending.

    Models that do not take a prompt (a box has no clicks) do not keep others from being compared.
    """
    items = [answers.items for (other, _), answers in table.answers.items() if other == prompt]
    if not items:
        return np.zeros(0, np.int64)
    return reduce(lambda one, other: np.intersect1d(one, other, assume_unique=True), items)


def coco_bins() -> list[SizeBin]:
    """Return COCO's three sizes."""
    edges = (0, *COCO_EDGES, None)
    first, second = (f"{round(edge**0.5)}²" for edge in COCO_EDGES)
    bounds = (f"< {first}", f"< {second}", f"≥ {second}")
    return [
        SizeBin(label=f"{name} ({bound})", low=edges[row] or 0, high=edges[row + 1])
        for row, (name, bound) in enumerate(zip(_COCO_NAMES, bounds, strict=True))
    ]


def quartile_bins(areas: Integers) -> list[SizeBin]:
    """Return up to four bins with equally many objects, as far as that is possible.

    Objects of the same area are never torn apart: each quartile is moved to the nearest place
    between two different areas, and where several come to the same place there are fewer bins.

    Args:
        areas: (N,) true pixels of the objects of a split.
    """
    if not len(areas):
        return []
    values, counts = np.unique(areas, return_counts=True)
    below = np.cumsum(counts)[:-1]  # objects left of each place where one may cut
    edges: list[int] = []
    if len(below):
        cuts = {int(np.abs(below - part * len(areas)).argmin()) for part in _QUARTERS}
        edges = [int(values[cut + 1]) for cut in sorted(cuts)]
    lows, highs = [int(values[0]), *edges], [*edges, int(values[-1]) + 1]
    return [
        SizeBin(label=_span(low, high - 1), low=low, high=high)
        for low, high in zip(lows, highs, strict=True)
    ]


def bin_members(areas: Integers, bins: Sequence[SizeBin]) -> Integers:
    """Return the index of the bin of each area, (N,); bins cover all areas in rising order."""
    return np.searchsorted([each.low for each in bins[1:]], areas, side="right").astype(np.int64)


def ordered_classes(table: ScoreTable, order: Sequence[str]) -> list[str]:
    """Return the classes that a table knows, in a given order; none if no object has one."""
    if table.class_names in ((), ("",)):
        return []
    known = [name for name in order if name in table.class_names]
    others = [name for name in table.class_names if name not in known and name]
    return known + others + ([""] if "" in table.class_names else [])


def group_means(values: Floats, member: Integers, groups: int) -> tuple[Floats, Integers]:
    """Return means by group, values that are no number left out.

    Args:
        values: (n, S).
        member: (n,) group of each row, -1 for none.
        groups: How many there are.

    Returns:
        (groups, S) means, NaN where nothing is known, and (groups, S) how many were left out.
    """
    values, member = values[member >= 0], member[member >= 0]
    known = np.isfinite(values)
    sums, counts = np.zeros((groups, values.shape[1])), np.zeros((groups, values.shape[1]))
    for column in range(values.shape[1]):
        good = known[:, column]
        sums[:, column] = np.bincount(member[good], values[good, column], minlength=groups)
        counts[:, column] = np.bincount(member[good], minlength=groups)
    sizes = np.bincount(member, minlength=groups)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means, (sizes[:, None] - counts).astype(np.int64)


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
