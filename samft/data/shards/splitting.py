"""Which samples of shards are for training, validation and testing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.files import relative_name
from samft.data.records import SPLITS, Record, Split
from samft.data.shards.shard_set import ShardSet
from samft.data.splits import assign_splits
from samft.errors import DatasetError

_ODD: Final = 0x9E3779B97F4A7C15
_MIX: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def unlabelled_rows(shards: ShardSet) -> NDArray[np.uint32]:
    """Return the rows of images that have no labels."""
    return shards.select(
        lambda table: (
            table["label_size"] == 0
            if "label" in (table.dtype.names or ())
            else np.ones(table.size, bool)
        )
    )


def split_shards(
    shards: ShardSet,
    fixed: Sequence[Split | None],
    *,
    by: Literal["shard", "sample"],
    fractions: Mapping[Split, float],
    seed: int,
    without: NDArray[np.uint32],
    limit: int | None,
) -> dict[Split, ShardSet]:
    """Give samples their splits.

    Shards that have one keep it, if any is for training. What is missing then, validation or test,
    is drawn from the others: as `assign_splits` does with cases, a shard each; or sample by sample,
    in an order that depends on the hash of a sample's key and the seed alone.

    Args:
        shards: All samples.
        fixed: The split of each shard, where its folder or name says one.
        by: What is drawn.
        fractions: Share of the samples or shards for validation and test.
        seed: Which ones.
        without: Rows that are left out.
        limit: So many samples of each split, spread evenly over it.

    Raises:
        DatasetError: if a split would be empty.
    """
    codes = _by_shard(shards, fixed, {} if by == "sample" else fractions, seed)
    rows_of: dict[Split, NDArray[np.uint32]] = {}
    drawn = _drawn(shards, codes, fractions, seed, without) if by == "sample" else {}
    taken = np.concatenate([without, *drawn.values()])
    for code, split in enumerate(SPLITS):
        if split in drawn:
            rows = drawn[split]
        else:
            rows = _rows(shards, codes == code)
            rows = rows[~np.isin(rows, taken)] if taken.size else rows
        if limit is not None and rows.size > limit:
            rows = rows[np.linspace(0, rows.size - 1, limit).astype(np.int64)]
        rows_of[split] = rows
    if rows_of["train"].size == 0:
        raise DatasetError("no sample is left for training", where=shards.root)
    return {split: ShardSet(shards.root, shards.shards, rows) for split, rows in rows_of.items()}


def _by_shard(
    shards: ShardSet,
    fixed: Sequence[Split | None],
    fractions: Mapping[Split, float],
    seed: int,
) -> NDArray[np.int8]:
    records = [
        Record(sample_id=name, case_id=name, images=(shard.path,), labels=(), split=split)
        for shard, split in zip(shards.shards, fixed, strict=True)
        for name in [relative_name(shards.root, shard.path)]
    ]
    wanted = {f"{split}_fraction": fractions.get(split, 0.0) for split in ("val", "test")}
    try:
        found = assign_splits(records, **wanted, seed=seed)
    except DatasetError as error:
        if error.fix is None or not error.fix.startswith("add data"):
            raise
        raise DatasetError(
            "too few shards to split",
            where=shards.root,
            found=f"{len(records)} shard{'s' * (len(records) != 1)}",
            expected=error.expected,
            fix="draw samples instead with data.split_by: sample",
        ) from error
    code_of = {r.sample_id: SPLITS.index(split) for split, part in found.items() for r in part}
    return np.array([code_of[record.sample_id] for record in records], np.int8)


def _drawn(
    shards: ShardSet,
    codes: NDArray[np.int8],
    fractions: Mapping[Split, float],
    seed: int,
    without: NDArray[np.uint32],
) -> dict[Split, NDArray[np.uint32]]:
    """Return rows for validation and test from the samples of the shards for training."""
    drawable: tuple[Split, ...] = ("test", "val")
    wanted = {
        split: fractions[split]
        for split in drawable
        if fractions.get(split) and SPLITS.index(split) not in codes
    }
    if not wanted:
        return {}
    rows = _rows(shards, codes == 0)
    rows = rows[~np.isin(rows, without)] if without.size else rows
    ranks = _ranks(shards, rows, seed)
    counts = {split: max(1, round(share * rows.size)) for split, share in wanted.items()}
    if sum(counts.values()) >= rows.size:
        raise DatasetError(
            "too few samples to split",
            where=shards.root,
            found=f"{rows.size} samples",
            expected=f"at least {sum(counts.values()) + 1}",
            fix="set data.val_fraction or data.test_fraction to 0",
        )
    places = np.cumsum([0, *counts.values()])
    limits = np.sort(np.partition(ranks, places[-1])[: places[-1]])
    drawn: dict[Split, NDArray[np.uint32]] = {}
    for split, first, stop in zip(counts, places[:-1], places[1:], strict=True):
        drawn[split] = rows[(ranks >= limits[first]) & (ranks <= limits[stop - 1])]
    return drawn


def _ranks(shards: ShardSet, rows: NDArray[np.uint32], seed: int) -> NDArray[np.uint64]:
    """Return the places of rows in an order that depends on their keys and the seed."""
    ranks = np.empty(rows.size, np.uint64)
    ends = np.searchsorted(rows, shards.starts)
    for number, shard in enumerate(shards.shards):
        first, stop = ends[number], ends[number + 1]
        inside = rows[first:stop] - np.uint32(shards.starts[number])
        if inside.size:
            ranks[first:stop] = _mixed(shard.table(mapped=False)["hash"][inside], seed)
    return ranks


def _rows(shards: ShardSet, chosen: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Return the rows of the chosen shards."""
    return np.flatnonzero(np.repeat(chosen, np.diff(shards.starts))).astype(np.uint32)


def _mixed(hashes: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Return other numbers for every seed, as well spread as the hashes.

    Source: Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number Generators", doi:
        10.1145/2714064.2660195, with the constants of its reference implementation.
    """
    mixed = hashes + np.uint64(seed * _ODD % 2**64)
    for shift, factor in zip((30, 27), _MIX, strict=True):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= factor
    return mixed ^ (mixed >> np.uint64(31))
