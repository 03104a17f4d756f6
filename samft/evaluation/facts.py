"""What a report says beside the scores: who answered, and about what data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from samft.evaluation.competitor import CompetitorKind


@dataclass(frozen=True, kw_only=True, slots=True)
class CompetitorRecord:
    """A model or baseline that took part.

    Args:
        name: Unique in the evaluation; `ObjectRow.model`.
        kind: What it is.
        prompts: The prompts of the evaluation that it answered, in their order: `box`,
            `loose_box`, `point1` to `point<n>`.
        seconds: Wall time of its pass over the split, loading of the data included, loading of the
            model not.
        description: What `Competitor.describe` returned.
    """

    name: str
    kind: CompetitorKind
    prompts: tuple[str, ...]
    seconds: float
    description: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFacts:
    """The data that was answered about.

    Args:
        root: Folder of the data set as it was configured, or what the data is, where there is none.
        split: Which split was evaluated.
        images: Images of the split.
        cases: Patients, files or scenes they belong to.
        classes: Class names; empty where objects have none.
        sha256: Hash over the samples' ids, cases and contents, see `samft.evaluation.data_facts`.
    """

    root: str
    split: Literal["test", "val"]
    images: int
    cases: int
    classes: tuple[str, ...]
    sha256: str
