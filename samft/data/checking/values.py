"""What the values of all masks together tell about the settings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from samft.data.checking.facts import MaskFacts
from samft.data.checking.findings import Finding
from samft.data.classes import ClassTable, class_table
from samft.data.layouts.base import LayoutSettings

_MOST_VALUES = 5000
_MOST_SIGNATURES = 256
_LONGEST = 8
_WHITE = range(250, 256)


@dataclass(slots=True)
class ValueTally:
    """Counts in how many masks each value occurs.

    Attributes:
        masks: How many masks were counted.
        files: Masks of each value but the background.
        first: The first mask of each value.
        signatures: The first mask and the number of masks with exactly these few values.
    """

    masks: int = 0
    files: Counter[int] = field(default_factory=Counter)
    first: dict[int, str] = field(default_factory=dict)
    signatures: dict[tuple[int, ...], tuple[str, int]] = field(default_factory=dict)

    def add(self, mask: MaskFacts, name: str, settings: LayoutSettings) -> None:
        """Count the values of a mask.

        Args:
            mask: What was found in it.
            name: Its name below the data root.
            settings: What is background or ignored.
        """
        values = [v for v in mask.values if v not in (settings.background, settings.ignore_value)]
        self.masks += 1
        for value in values:
            if value in self.files or len(self.files) < _MOST_VALUES:
                self.files[value] += 1
                self.first.setdefault(value, name)
        key = tuple(values)
        if key and len(key) <= _LONGEST and len(self.signatures) < _MOST_SIGNATURES:
            file, count = self.signatures.get(key, (name, 0))
            self.signatures[key] = (file, count + 1)

    def finding(
        self, code: str, values: list[int], *, found: str, expected: str, fix: str
    ) -> Finding:
        """Return a finding about some values."""
        return Finding(
            code=code,
            file=self.first[values[0]],
            found=found,
            expected=expected,
            fix=fix,
            files=max(self.files[value] for value in values),
        )


def check_values(tally: ValueTally, settings: LayoutSettings) -> list[Finding]:
    """Compare the values that masks have with those they should have.

    Args:
        tally: Of all masks.
        settings: The classes, if they have names.
    """
    if settings.threshold is not None or settings.palette is not None or not tally.files:
        return []
    table = class_table(
        settings.classes,
        first_value=settings.first_value,
        background=settings.background,
        ignore_value=settings.ignore_value,
    )
    if table.index_of is not None:
        return _against_classes(tally, table, settings)
    return [*_unnamed(tally), *_differing(tally)]


def _against_classes(
    tally: ValueTally, table: ClassTable, settings: LayoutSettings
) -> list[Finding]:
    assert table.index_of is not None  # asked before
    seen = sorted(value for value in tally.files if value >= 0)
    known = set(table.index_of)
    unknown = [value for value in seen if value not in known]
    if not unknown:
        return []
    expected = ", ".join(f"{v} {table.names[i]}" for v, i in sorted(table.index_of.items()))
    found = f"values {', '.join(map(str, unknown[:_LONGEST]))}"
    if seen == [255]:
        return [_black_and_white(tally, table, expected)]
    if unknown == [255] and len(seen) > 1:
        fix = "set data.ignore_value: 255, or name it in data.classes"
        return [tally.finding("ignore-unset", unknown, found=found, expected=expected, fix=fix)]
    for shift in (1, -1):
        if {value - shift for value in seen} <= known and len(seen) > 1:
            return [_off_by_one(tally, seen, settings, shift=shift, expected=expected)]
    fix = "add them to data.classes by value, such as {1: liver, 255: tumour}, or name one in "
    return [
        tally.finding(
            "value-unknown",
            unknown,
            found=found,
            expected=expected,
            fix=f"{fix}data.ignore_value",
        )
    ]


def _black_and_white(tally: ValueTally, table: ClassTable, expected: str) -> Finding:
    fix = f"set data.classes: {{255: {table.names[0]}}}"
    if len(table.names) > 1:
        fix = "export masks with the numbers of the classes, or leave data.classes out"
    return tally.finding(
        "mask-255", [255], found="only 0 and 255", expected=expected, fix=f"{fix} (0 is background)"
    )


def _off_by_one(
    tally: ValueTally, seen: list[int], settings: LayoutSettings, *, shift: int, expected: str
) -> Finding:
    start = settings.first_value + shift
    fix = f"set data.first_value: {start}"
    if isinstance(settings.classes, dict):
        fix = f"add {shift} to every number in data.classes"
    if start == 0 or (shift == -1 and 0 in seen):
        fix += " and data.background: null"
    return tally.finding(
        "labels-off-by-one",
        [seen[-1] if shift == 1 else seen[0]],
        found=f"values {seen[0]} to {seen[-1]}",
        expected=expected,
        fix=fix,
    )


def _unnamed(tally: ValueTally) -> list[Finding]:
    seen = sorted(value for value in tally.files if value > 0)
    if not seen:
        return []
    others = [value for value in seen if value != 255]
    if seen[0] in _WHITE and seen != [255]:
        return [
            tally.finding(
                "mask-near-white",
                others,
                found=f"values {', '.join(map(str, seen))}",
                expected="0 and 255",
                fix="set data.threshold: 128",
            )
        ]
    if all(v in (127, 128) for v in others) and others and 255 in seen:
        return [
            tally.finding(
                "values-unnamed",
                others,
                found=f"values {', '.join(map(str, [0, *seen]))}",
                expected="names for what is no background",
                fix=f"set data.classes: {{{others[0]}: NAME, 255: NAME}}, or where nothing is "
                f"known there data.ignore_value: {others[0]}",
            )
        ]
    alone = tally.signatures.get((255,), ("", 0))[1]
    if alone < tally.files[255] and _are_classes(others):
        return [
            tally.finding(
                "ignore-unset",
                [255],
                found=f"{_span(others)}, and 255",
                expected="255 named, if it is no class",
                fix="set data.ignore_value: 255 (or name it in data.classes if it is a class)",
            )
        ]
    return []


def _span(values: list[int]) -> str:
    low, high = values[0], values[-1]
    return f"values {low} to {high}" if low < high else f"value {low}"


def _are_classes(values: list[int]) -> bool:
    """Whether values count up from 1 or so, and there is room between them and 255."""
    return bool(values) and values[-1] < 128 and values[-1] <= 2 * len(values)


def _differing(tally: ValueTally) -> list[Finding]:
    """Find masks that say the same with other numbers, such as 1 and 255, or 127 and 128."""
    white = [key for key in tally.signatures if max(key) in _WHITE]
    for key in white:
        for other in tally.signatures:
            if other != key and _mean_the_same(key, other):
                file, count = tally.signatures[
                    min(key, other, key=lambda k: tally.signatures[k][1])
                ]
                return [
                    Finding(
                        code="values-differ",
                        file=file,
                        found=f"0, {', '.join(map(str, min(key, other)))} in some masks and "
                        f"0, {', '.join(map(str, max(key, other)))} in others",
                        expected="the same values in all masks",
                        fix="save them with the same values"
                        + (", or set data.threshold: 1" if len(key) == 1 else ""),
                        files=count,
                    )
                ]
    return []


def _mean_the_same(key: tuple[int, ...], other: tuple[int, ...]) -> bool:
    if len(key) != len(other):
        return False
    if (key, other) == ((255,), (1,)):
        return True
    rising = all(b - a > 2 for a, b in pairwise(key))
    return len(key) > 1 and rising and all(abs(a - b) <= 2 for a, b in zip(key, other, strict=True))
