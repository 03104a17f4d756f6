"""Which case goes to training, validation and test: whole files and patients, never loose slices.

The one exception is asked for by name: `block` cuts a volume into slabs, for a single one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.ranks import rank_names
from samft.data.record_store import RecordStore
from samft.data.records import SPLITS, Record, Split
from samft.errors import ConfigError, DatasetError

SplitBy = Literal["case", "block"]

_log = logging.getLogger(__name__)
_OPEN: Final = -1  # no split yet; the others by their place in SPLITS
_TRAIN, _VAL, _TEST = range(3)

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
) -> dict[Split, Sequence[Record]]:
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
    codes, ranks = _split_codes(records), _ranks(records, "case_id", seed)
    _refuse_torn(records, codes, ranks)
    if _TRAIN not in codes:
        codes = np.full_like(codes, _OPEN)
    elif _OPEN in codes:
        _refuse_partial(records, codes)
    _log_where_from(codes, ranks)
    wanted: dict[Split, float] = {
        "test": 0.0 if _TEST in codes else test_fraction,
        "val": 0.0 if _VAL in codes else val_fraction,
    }
    is_open = codes <= _TRAIN
    cases = _distinct(ranks[is_open])
    counts = _counts(cases, wanted, lambda rank: records[int(np.argmax(ranks == rank))].case_id)
    codes = codes.clip(min=_TRAIN)
    start = 0
    for split, count in counts.items():
        chosen = is_open & (ranks >= cases[start]) & (ranks <= cases[start + count - 1])
        codes[chosen] = SPLITS.index(split)
        start += count
    return {split: _take(records, codes == code) for code, split in enumerate(SPLITS)}


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


def group_by_split(records: Sequence[Record]) -> dict[Split, Sequence[Record]]:
    """Return records by their split, without those that have none; nothing is drawn."""
    codes = _split_codes(records)
    return {split: _take(records, codes == code) for code, split in enumerate(SPLITS)}


def limit_records(records: Sequence[Record], limit: int | None, *, seed: int) -> Sequence[Record]:
    """Return at most `limit` records, always the same ones, in the order of the index."""
    if limit is None or len(records) <= limit:
        return records
    chosen = np.zeros(len(records), bool)
    chosen[np.argpartition(_ranks(records, "sample_id", seed), limit - 1)[:limit]] = True
    return _take(records, chosen)


def with_folder_splits(records: Sequence[Record], root: Path) -> Sequence[Record]:
    """Return the records with the split that a folder below `root` names, if one does.

    What the layout of the data says about splits comes first.
    """
    if isinstance(records, RecordStore):
        return _store_with_folder_splits(records, root)
    return [
        record if record.split else replace(record, split=_folder_split(record, root))
        for record in records
    ]


def _folder_split(record: Record, root: Path) -> Split | None:
    return split_of_folder(record.images[0].relative_to(root).as_posix())


def _store_with_folder_splits(records: RecordStore, root: Path) -> RecordStore:
    numbers, folders = records.folders()
    start = root.as_posix().rstrip("/") + "/"
    found = [
        split_of_folder(folder.removeprefix(start) + "name") if folder.startswith(start) else None
        for folder in folders
    ]
    by_folder = np.array([_OPEN if s is None else SPLITS.index(s) for s in found], np.int8)
    codes = by_folder[numbers]
    untold = np.array([not folder.startswith(start) for folder in folders], bool)
    for row in np.flatnonzero(untold[numbers]).tolist():
        split = _folder_split(records[row], root)
        codes[row] = _OPEN if split is None else SPLITS.index(split)
    said = records.split_codes()
    return records.with_split_codes(np.where(said == _OPEN, codes, said))


def _split_codes(records: Sequence[Record]) -> NDArray[np.int8]:
    """Return the place of every record's split in `SPLITS`, or that there is none."""
    if isinstance(records, RecordStore):
        return records.split_codes()
    places: dict[Split | None, int] = {None: _OPEN} | {s: i for i, s in enumerate(SPLITS)}
    return np.fromiter((places[record.split] for record in records), np.int8, len(records))


def _ranks(
    records: Sequence[Record], name: Literal["sample_id", "case_id"], seed: int
) -> NDArray[np.uint64]:
    if isinstance(records, RecordStore):
        return rank_names(records.text(name), seed=seed)
    texts: Iterable[str] = (getattr(record, name) for record in records)
    return rank_names((text.encode("utf-8", "surrogatepass") for text in texts), seed=seed)


def _distinct(ranks: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # numpy.unique goes by a table, which is slower and larger than to sort.
    ordered = np.sort(ranks)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if ranks.size else ranks


def _take(records: Sequence[Record], chosen: NDArray[np.bool_]) -> Sequence[Record]:
    rows = np.flatnonzero(chosen)
    if isinstance(records, RecordStore):
        return records.take(rows)
    return [records[row] for row in rows.tolist()]


def _refuse_torn(
    records: Sequence[Record], codes: NDArray[np.int8], ranks: NDArray[np.uint64]
) -> None:
    """Refuse a case that lies in two splits, or of which a part is in none."""
    present = [code for code in (_OPEN, _TRAIN, _VAL, _TEST) if code in codes]
    if len(present) < 2:
        return
    groups = [_distinct(ranks[codes == code]) for code in present]
    torn = [np.intersect1d(a, b, assume_unique=True) for a, b in combinations(groups, 2)]
    if not any(shared.size for shared in torn):
        return
    first: dict[str, Split | None] = {}
    for row in np.flatnonzero(np.isin(ranks, np.concatenate(torn))).tolist():
        record = records[row]
        split = first.setdefault(record.case_id, record.split)
        if split != record.split:
            raise DatasetError(
                "one case lies in two splits",
                where=record.sample_id,
                found=f"case {record.case_id!r} in {split or 'no split'} and {record.split}",
                fix="move its files together, or split anew with data.split_folders: false",
            )


def _counts(
    cases: NDArray[np.uint64], wanted: dict[Split, float], name_of: Callable[[np.uint64], str]
) -> dict[Split, int]:
    """Return how many cases the splits get that are to be drawn."""
    counts: dict[Split, int] = {
        split: max(1, round(share * cases.size)) for split, share in wanted.items() if share > 0
    }
    if sum(counts.values()) >= cases.size:
        names = " and ".join(["train", *reversed(counts)])
        raise DatasetError(
            "too few cases to split",
            where=f"{names} from {cases.size} case{'s' * (cases.size != 1)}",
            found=", ".join(name_of(rank) for rank in cases[:3]),
            expected=f"at least {sum(counts.values()) + 1}",
            fix="add data, or set data.val_fraction or data.test_fraction to 0"
            ", or for volumes data.split_by: block",
        )
    return counts


def _refuse_partial(records: Sequence[Record], codes: NDArray[np.int8]) -> None:
    outside = np.flatnonzero(codes == _OPEN)
    raise DatasetError(
        "some images lie in a folder of a split and some do not",
        where=records[int(outside[0])].sample_id,
        found=f"{outside.size} of {len(records)} in neither train/, val/ nor test/",
        expected="all or none",
        fix="move them, choose with data.images, or ignore the folders with "
        "data.split_folders: false",
    )


def _log_where_from(codes: NDArray[np.int8], ranks: NDArray[np.uint64]) -> None:
    counts = {
        split: _distinct(ranks[codes == code]).size
        for code, split in enumerate(SPLITS)
        if code in codes
    }
    if counts:
        text = ", ".join(f"{split} ({count} cases)" for split, count in counts.items())
        _log.info("splits taken from the data's own folders: %s", text)
