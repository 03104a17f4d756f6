"""A problem of a data set, and the bounded list of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from samft.data.checking.codes import CODES, SEVERITIES, Severity

MAX_PER_CODE = 1000
"""Findings of a kind that are kept one by one; more are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One problem.

    Args:
        code: A name in `CODES`.
        file: The file, or the first of several, relative to the data root; `.` is the whole set.
        found: What there is.
        expected: What would be right.
        fix: The setting or action that mends it.
        files: How many files have it.
    """

    code: str
    file: str
    found: str
    expected: str
    fix: str
    files: int = 1

    def __post_init__(self) -> None:
        assert self.code in CODES, self.code

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return CODES[self.code].severity

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        """Return plain data with the severity, as `samft check --json` shows it."""
        return {"severity": self.severity, "meaning": CODES[self.code].meaning, **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:  # Any: JSON
        """Take what `to_dict` gave."""
        return cls(**{key: values[key] for key in cls.__slots__})


class FindingLog:
    """Findings in bounded memory: of each kind the first are kept, all are counted."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Finding]] = {}
        self.counts: Counter[str] = Counter()

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings over."""
        for finding in findings:
            self.counts[finding.code] += 1
            kept = self._kept.setdefault(finding.code, [])
            if len(kept) < MAX_PER_CODE:
                kept.append(finding)

    def sorted(self) -> list[Finding]:
        """Return what was kept, the worst first, then by kind and file."""
        order = {code: index for index, code in enumerate(CODES)}
        return sorted(
            (finding for kept in self._kept.values() for finding in kept),
            key=lambda item: (SEVERITIES.index(item.severity), order[item.code], item.file),
        )

    def by_severity(self) -> dict[Severity, int]:
        """Return how many findings there are of each severity, also those not kept."""
        totals: dict[Severity, int] = dict.fromkeys(SEVERITIES, 0)
        for code, count in self.counts.items():
            totals[CODES[code].severity] += count
        return totals
