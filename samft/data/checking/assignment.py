"""Which split each record is in, or would be, for finding what leaks between them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from samft.data.checking.findings import Finding
from samft.data.checking.inspection import finding_of
from samft.data.checking.settings import CheckSettings
from samft.data.files import relative_name
from samft.data.records import Record, Split
from samft.data.splits import assign_splits, split_of_folder, with_folder_splits
from samft.errors import DatasetError


def splits_of(
    records: Sequence[Record], root: Path, settings: CheckSettings
) -> tuple[list[Split | None], list[Finding]]:
    """Return the split of every record, `None` where there are none, and cases in two of them.

    Args:
        records: The index.
        root: The data root.
        settings: How splits are found.
    """
    placed = with_folder_splits(records, root) if settings.split_folders else list(records)
    placed = [new if old.split is None else old for old, new in zip(records, placed, strict=True)]
    splits = [record.split for record in placed]
    if "train" not in splits:
        if not settings.draw_splits:
            return [None] * len(records), []
        return _drawn(placed, root, settings)
    return splits, _torn_cases(placed, root, settings)


def case_of(record: Record, root: Path, settings: CheckSettings) -> str:
    """Return the case of a record, as `data.case_pattern` finds it."""
    if settings.case_pattern is None:
        return record.case_id
    match = re.search(settings.case_pattern, relative_name(root, record.images[0]))
    if match is None:
        return record.case_id
    return match.group(1) if match.groups() else match.group(0)


def without_split_folders(name: str) -> str:
    """Return a relative path without the folders that name a split."""
    *folders, file = name.split("/")
    return "/".join([*(f for f in folders if split_of_folder(f"{f}/x") is None), file])


def _drawn(
    records: Sequence[Record], root: Path, settings: CheckSettings
) -> tuple[list[Split | None], list[Finding]]:
    cases = [replace(record, case_id=case_of(record, root, settings)) for record in records]
    try:
        drawn = assign_splits(
            cases,
            val_fraction=settings.val_fraction,
            test_fraction=settings.test_fraction,
            seed=settings.seed,
        )
    except DatasetError as error:
        return [None] * len(records), [finding_of(error, root, root, default="layout")]
    split_of = {record.sample_id: split for split, own in drawn.items() for record in own}
    return [split_of.get(record.sample_id) for record in records], []


def _torn_cases(records: Sequence[Record], root: Path, settings: CheckSettings) -> list[Finding]:
    first: dict[str, Record] = {}
    torn: dict[str, Finding] = {}
    for record in records:
        case = case_of(record, root, settings)
        other = first.setdefault(case, record)
        if other.split != record.split and case not in torn:
            torn[case] = Finding(
                code="leak-case",
                file=relative_name(root, record.images[0]),
                found=f"case {case!r} in {other.split} and {record.split}",
                expected="all images of a case in one split",
                fix="move its files together, or split anew with data.split_folders: false",
            )
    return list(torn.values())
