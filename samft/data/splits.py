"""Which case goes to training, validation and test: whole files and patients, never loose slices.

The one exception is asked for by name: `block` cuts a volume into slabs, for a single one.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from samft.data.records import SPLITS, Record, Split
from samft.errors import ConfigError, DatasetError

SplitBy = Literal["case", "block"]

_log = logging.getLogger(__name__)

_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
BLOCK_GAP = 2
"""Slices left unused between two slabs of a volume, so that no split has the neighbour of another's
slice."""


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Check the sizes of the splits.

    Raises:
        ConfigError: if a fraction is not in [0, 1), or nothing is left for training.
    """
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 <= value < 1:
            raise ConfigError(
                "the fraction is out of range",
                where=f"data.{name}",
                found=value,
                expected="0 (none) or more, below 1",
            )
    if val_fraction + test_fraction >= 1:
        raise ConfigError(
            "nothing is left for training",
            where="data.val_fraction, data.test_fraction",
            found=f"{val_fraction} + {test_fraction}",
            expected="less than 1 together",
        )


def split_of_folder(name: str) -> Split | None:
    """Return the split that a relative path names by one of its folders (`train`, `val`, ...)."""
    found = (_FOLDERS.get(part.lower()) for part in PurePosixPath(name).parts[:-1])
    return next((split for split in found if split is not None), None)


def assign_splits(
    records: Sequence[Record], *, val_fraction: float, test_fraction: float, seed: int
) -> dict[Split, list[Record]]:
    """Give every record its split.

    Records that already have one keep it, if there are any for training among them. What is still
    missing then, validation or test, is taken from the training cases. Cases are put in an order
    that depends only on their name and the seed: adding a case moves few others.

    Args:
        records: The index.
        val_fraction: Share of the cases for validation; 0 means no validation.
        test_fraction: Share of the cases for testing; 0 means no test split.
        seed: Which cases.

    Returns:
        The records of each split, in the order of the index.

    Raises:
        ConfigError: if the fractions are out of range.
        DatasetError: if a split would be empty, only some records have one, or a case is in two.
    """
    check_fractions(val_fraction, test_fraction)
    fixed = _fixed_by_case(records)
    if "train" not in fixed.values():
        fixed = dict.fromkeys(fixed)
    elif None in fixed.values():
        _refuse_partial(records)
    open_cases = [case for case, split in fixed.items() if split in (None, "train")]
    wanted: dict[Split, float] = {
        "test": 0.0 if "test" in fixed.values() else test_fraction,
        "val": 0.0 if "val" in fixed.values() else val_fraction,
    }
    chosen = _draw(open_cases, wanted, seed)
    _log_where_from(fixed.values())
    splits: dict[Split, list[Record]] = {split: [] for split in SPLITS}
    for record in records:
        split = chosen.get(record.case_id) or fixed[record.case_id] or "train"
        splits[split].append(record)
    return splits


def block_splits(
    num_slices: int, *, val_fraction: float, test_fraction: float, gap: int = BLOCK_GAP
) -> list[Split | None]:
    """Cut one volume into slabs: validation and test in its middle, training around them.

    Neighbouring slices look alike, so between two slabs `gap` slices are used for nothing. Scores
    on such a split show that training works, not that the model would do well on another patient.

    Args:
        num_slices: Slices of the volume.
        val_fraction: Share of the slices for validation.
        test_fraction: Share of the slices for testing.
        gap: Unused slices between two slabs.

    Returns:
        The split of each slice, `None` for the gaps.

    Raises:
        ConfigError: if the fractions are out of range.
        DatasetError: if the volume has too few slices.
    """
    check_fractions(val_fraction, test_fraction)
    shares: dict[Split, float] = {"val": val_fraction, "test": test_fraction}
    middle: list[Split | None] = []
    for split, share in shares.items():
        if share > 0:
            middle += [split] * max(1, round(share * num_slices)) + [None] * gap
    if not middle:
        return ["train"] * num_slices
    middle = [*[None] * gap, *middle]
    around = num_slices - len(middle)
    if around < 1:
        raise DatasetError(
            "the volume has too few slices to be split into slabs",
            where="data.split_by: block",
            found=f"{num_slices} slices",
            expected=f"at least {len(middle) + 1}",
            fix="lower data.val_fraction and data.test_fraction",
        )
    before: list[Split | None] = ["train"] * (around // 2)
    after: list[Split | None] = ["train"] * (around - around // 2)
    return [*before, *middle, *after]


def group_by_split(records: Iterable[Record]) -> dict[Split, list[Record]]:
    """Return records that all have a split, by that split; nothing is drawn."""
    splits: dict[Split, list[Record]] = {split: [] for split in SPLITS}
    for record in records:
        if record.split is not None:
            splits[record.split].append(record)
    return splits


def limit_records(records: Sequence[Record], limit: int | None, *, seed: int) -> list[Record]:
    """Return at most `limit` records, always the same ones, in the order of the index."""
    if limit is None or len(records) <= limit:
        return list(records)
    order = sorted(range(len(records)), key=lambda i: _rank(records[i].sample_id, seed))
    return [records[index] for index in sorted(order[:limit])]


def with_folder_splits(records: Iterable[Record], root: Path) -> list[Record]:
    """Return the records with the split that a folder below `root` names, if one does."""
    return [
        replace(record, split=split_of_folder(record.images[0].relative_to(root).as_posix()))
        for record in records
    ]


def _fixed_by_case(records: Sequence[Record]) -> dict[str, Split | None]:
    fixed: dict[str, Split | None] = {}
    for record in records:
        split = fixed.setdefault(record.case_id, record.split)
        if split != record.split:
            raise DatasetError(
                "one case lies in two splits",
                where=record.sample_id,
                found=f"case {record.case_id!r} in {split or 'no split'} and {record.split}",
                fix="move its files together, or split anew with data.split_folders: false",
            )
    return fixed


def _draw(cases: Sequence[str], wanted: dict[Split, float], seed: int) -> dict[str, Split]:
    order = sorted(cases, key=lambda case: _rank(case, seed))
    counts: dict[Split, int] = {
        split: max(1, round(share * len(cases))) for split, share in wanted.items() if share > 0
    }
    if sum(counts.values()) >= len(cases):
        names = " and ".join(["train", *reversed(counts)])
        raise DatasetError(
            "too few cases to split",
            where=f"{names} from {len(cases)} case{'s' * (len(cases) != 1)}",
            found=", ".join(order[:3]),
            expected=f"at least {sum(counts.values()) + 1}",
            fix="add data, or set data.val_fraction or data.test_fraction to 0"
            ", or for volumes data.split_by: block",
        )
    chosen: dict[str, Split] = {}
    for split, count in counts.items():
        start = len(chosen)
        chosen |= dict.fromkeys(order[start : start + count], split)
    return chosen


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def _refuse_partial(records: Sequence[Record]) -> None:
    outside = [record.sample_id for record in records if record.split is None]
    raise DatasetError(
        "some images lie in a folder of a split and some do not",
        where=outside[0],
        found=f"{len(outside)} of {len(records)} in neither train/, val/ nor test/",
        expected="all or none",
        fix="move them, choose with data.images, or ignore the folders with "
        "data.split_folders: false",
    )


def _log_where_from(fixed: Iterable[Split | None]) -> None:
    counts = Counter(split for split in fixed if split is not None)
    if counts:
        text = ", ".join(f"{split} ({counts[split]} cases)" for split in SPLITS if counts[split])
        _log.info("splits taken from the data's own folders: %s", text)
