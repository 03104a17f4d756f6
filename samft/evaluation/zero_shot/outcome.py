"""What a zero-shot experiment gives, whichever it is: scores, a row per case, what to compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The result of one model on one data set.

    Args:
        scores: By name, in the order of the table; NaN where there was nothing to score.
        rows: What a table of single cases shows, all with the same columns.
        compared: The scores that are compared case by case with another model's: by name, then by
            case.
        groups: The patient, file or scene that each of these cases belongs to; what is resampled.
            A case that is not listed is its own.
        notes: What a reader of the scores must know, a sentence each.
    """

    scores: Mapping[str, float]
    rows: tuple[Mapping[str, str | int | float], ...] = ()
    compared: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
