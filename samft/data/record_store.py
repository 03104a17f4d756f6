"""The records of millions of samples in tens of bytes each, shared by all worker processes.

A list of `Record` takes about a kilobyte per sample, and a copy of that in every worker that is
started afresh. Here the strings lie in columns, and from a certain size on in files that are mapped
into memory, so that what travels to a worker is the name of a folder.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from samft.data.index_cache import load_arrays, store_arrays
from samft.data.records import SPLITS, Record
from samft.data.text_columns import TextColumn, TextColumnBuilder, Wrap

_LIST_UP_TO: Final = 50_000
_MAP_FROM: Final = 32 * 2**20  # bytes
_NONE: Final = -(2**31)
_TEXTS: Final = ("sample_id", "case_id", "images", "labels", "entry")


def collect_records(records: Iterable[Record]) -> Sequence[Record]:
    """Return records as a list, or as a `RecordStore` where there are more than 50,000.

    Args:
        records: May be made one by one; a long list of them never exists.
    """
    if isinstance(records, RecordStore):
        return records
    iterator = iter(records)
    first = list(islice(iterator, _LIST_UP_TO + 1))
    return first if len(first) <= _LIST_UP_TO else RecordStore.build(chain(first, iterator))


def find_repeated(records: Sequence[Record]) -> Record | None:
    """Return the first record whose `sample_id` an earlier one has, if there is one."""
    rows: Iterable[int] = range(len(records))
    if isinstance(records, RecordStore):
        hashes = records.id_hashes()
        ordered = np.sort(hashes)
        suspected = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        rows = np.flatnonzero(np.isin(hashes, suspected)).tolist() if suspected.size else ()
    seen: set[str] = set()
    for row in rows:
        record = records[row]
        if record.sample_id in seen:
            return record
        seen.add(record.sample_id)
    return None


class RecordStore(Sequence[Record]):
    """A sequence of records that keeps columns and makes a `Record` when it is asked for one.

    Args:
        texts: The columns of strings.
        numbers: Whole numbers: one for each record, or a single one for all.
        rows: The rows of the columns that this store consists of; `None` for all.
        folder: Where texts and numbers are stored, if they are.
        splits: (n,) int8, one for each row of the columns, instead of the stored ones.
    """

    def __init__(
        self,
        texts: dict[str, TextColumn],
        numbers: dict[str, NDArray[Any]],
        *,
        rows: NDArray[Any] | None = None,
        folder: Path | None = None,
        splits: NDArray[np.int8] | None = None,
    ) -> None:
        self._texts = texts
        self._numbers = numbers if splits is None else numbers | {"split": splits}
        self._rows = rows
        self._folder = folder
        self._splits = splits

    @classmethod
    def build(cls, records: Iterable[Record]) -> RecordStore:
        """Store records; large ones go to files in the cache folder.

        Raises:
            OverflowError: if a number of a record does not fit 32 bits.
        """
        builder = _Builder()
        for record in records:
            builder.add(record)
        return builder.build().shared()

    def __len__(self) -> int:
        return len(self._texts["sample_id"]) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> RecordStore: ...
    def __getitem__(self, index: int | slice) -> Record | RecordStore:
        """Return a record, or a store of some."""
        if isinstance(index, slice):
            return self.take(np.arange(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        row = index % len(self)
        return self._record(row if self._rows is None else int(self._rows[row]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordStore):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as a list

    def take(self, places: NDArray[Any]) -> RecordStore:
        """Return the records at `places`, (n,) whole numbers, in that order; copies no column."""
        rows = places if self._rows is None else self._rows[places]
        small = np.uint32 if len(self._texts["sample_id"]) < 2**32 else np.int64
        return self._changed(rows=rows.astype(small), splits=self._splits)

    def text(self, name: str) -> Iterable[bytes]:
        """Return `sample_id` or `case_id` of every record in UTF-8, made while they are used."""
        rows = None if self._rows is None else self._rows.astype(np.int64)
        return self._texts[name].encoded(rows)

    def id_hashes(self) -> NDArray[np.uint64]:
        """Return a number for the `sample_id` of every record; equal for equal ones."""
        found = self._texts["sample_id"].hashes()
        return found if self._rows is None else found[self._rows]

    def split_codes(self) -> NDArray[np.int8]:
        """Return the place in `SPLITS` of every record's split, -1 for none."""
        return self._column("split").astype(np.int8)

    def with_split_codes(self, codes: NDArray[np.int8]) -> RecordStore:
        """Return the same records in other splits; `codes` as `split_codes` gives them."""
        full = np.full(len(self._texts["sample_id"]), -1, np.int8)
        full[slice(None) if self._rows is None else self._rows] = codes
        return self._changed(rows=self._rows, splits=full)

    def folders(self) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Return the folder of every record's first image: its number, and the folders by number.

        Where there are more than 65,000 folders, some are empty, and only the record itself tells.
        """
        column, ends = self._texts["images"], self._numbers["images_end"]
        rows = np.arange(len(self._texts["sample_id"])) if self._rows is None else self._rows
        if len(ends) > 1:  # not one for each record
            rows = np.concatenate([np.zeros(1, ends.dtype), ends[:-1]])[rows]
        return column.codes[rows], tuple(wrap.prefix for wrap in column.wraps)

    def shared(self) -> RecordStore:
        """Return the same records, mapped from files if they are large."""
        arrays = {
            f"{name}-{part}": values
            for name, column in self._texts.items()
            for part, values in column.arrays().items()
        } | {f"number-{name}": values for name, values in self._numbers.items()}
        if sum(values.nbytes for values in arrays.values()) < _MAP_FROM:
            return self
        about = {name: column.wraps for name, column in self._texts.items()}
        folder = store_arrays(arrays, about)
        return self if folder is None else _opened(folder, rows=self._rows)

    def __getstate__(self) -> dict[str, Any]:
        if self._folder is None:
            return vars(self)
        return {"folder": self._folder, "rows": self._rows, "splits": self._splits}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "folder" in state:
            state = vars(_opened(**state))
        vars(self).update(state)

    def _changed(
        self, *, rows: NDArray[Any] | None, splits: NDArray[np.int8] | None
    ) -> RecordStore:
        return RecordStore(
            self._texts, self._numbers, rows=rows, folder=self._folder, splits=splits
        )

    def _column(self, name: str) -> NDArray[Any]:
        values = self._numbers[name]
        if len(values) == 1:
            return np.broadcast_to(values, len(self))
        return values if self._rows is None else values[self._rows]

    def _number(self, name: str, row: int) -> int | None:
        values = self._numbers[name]
        found = int(values[row if len(values) > 1 else 0])
        return None if found == _NONE else found

    def _record(self, row: int) -> Record:
        split, top = self._number("split", row), self._number("top", row)
        texts = self._texts
        window = None
        if top is not None:
            left, height, width = (self._number(name, row) for name in ("left", "height", "width"))
            window = (top, left or 0, height or 0, width or 0)
        return Record(
            sample_id=texts["sample_id"].get(row) or "",
            case_id=texts["case_id"].get(row) or "",
            images=self._paths("images", row),
            labels=self._paths("labels", row),
            slice_index=self._number("slice_index", row),
            axis=self._number("axis", row) or 0,
            split=None if split is None or split < 0 else SPLITS[split],
            entry=texts["entry"].get(row),
            window=window,
        )

    def _paths(self, name: str, row: int) -> tuple[Path, ...]:
        ends = self._numbers[f"{name}_end"]
        if len(ends) == 1:  # one for each record
            places: Iterable[int] = (row,)
        else:
            places = range(int(ends[row - 1]) if row else 0, int(ends[row]))
        return tuple(Path(self._texts[name].get(place) or "") for place in places)


@dataclass(slots=True)
class _Numbers:
    """A column of whole numbers that stays a single one as long as all are equal."""

    values: array[int] = field(default_factory=lambda: array("i"))
    count: int = 0

    def add(self, value: int | None) -> None:
        value = _NONE if value is None else value
        if self.count == 0 or len(self.values) > 1:
            self.values.append(value)
        elif value != self.values[0]:
            self.values = array("i", [self.values[0]]) * self.count
            self.values.append(value)
        self.count += 1

    def build(self) -> NDArray[Any]:
        values = np.array(self.values, np.int32)
        if values.size == 0:
            return np.zeros(1, np.int32)
        if values.size == 1 or (values.min() >= -128 and values.max() <= 127):
            return values if values.size == 1 else values.astype(np.int8)
        return values


class _Ends:
    """Where the files of each record end, kept once a record has not exactly one."""

    def __init__(self) -> None:
        self.ends: array[int] | None = None
        self.count = 0
        self.total = 0

    def add(self, files: int) -> None:
        if files != 1 and self.ends is None:
            self.ends = array("q", range(1, self.count + 1))
        self.count += 1
        self.total += files
        if self.ends is not None:
            self.ends.append(self.total)

    def build(self) -> NDArray[Any]:
        # One number stands for "one file each"; the real ends of a single record come with a guard.
        if self.ends is None:
            return np.zeros(1, np.int64)
        ends = np.array([*self.ends, self.total] if self.count == 1 else self.ends, np.int64)
        return ends if self.total >= 2**32 else ends.astype(np.uint32)


class _Builder:
    def __init__(self) -> None:
        self.texts = {name: TextColumnBuilder() for name in _TEXTS}
        names = ("slice_index", "axis", "split", "top", "left", "height", "width")
        self.numbers = {name: _Numbers() for name in names}
        self.ends = {name: _Ends() for name in ("images", "labels")}

    def add(self, record: Record) -> None:
        stem = self.texts["sample_id"].add(record.sample_id)
        self.texts["case_id"].add(record.case_id, stem)
        self.texts["entry"].add(record.entry, stem)
        for name, files in (("images", record.images), ("labels", record.labels)):
            self.ends[name].add(len(files))
            shared = stem if self.ends[name].ends is None else None  # rows no longer correspond
            for path in files:
                self.texts[name].add(path.as_posix(), shared)
        numbers = self.numbers
        numbers["slice_index"].add(record.slice_index)
        numbers["axis"].add(record.axis)
        numbers["split"].add(-1 if record.split is None else SPLITS.index(record.split))
        window = record.window or (None, None, None, None)
        for name, value in zip(("top", "left", "height", "width"), window, strict=True):
            numbers[name].add(value)

    def build(self) -> RecordStore:
        leading = self.texts["sample_id"].build()
        texts = {"sample_id": leading}
        texts |= {name: self.texts[name].build(leading) for name in _TEXTS[1:]}
        numbers = {name: column.build() for name, column in self.numbers.items()}
        numbers |= {f"{name}_end": ends.build() for name, ends in self.ends.items()}
        return RecordStore(texts, numbers)


def _opened(
    folder: Path, *, rows: NDArray[Any] | None, splits: NDArray[np.int8] | None = None
) -> RecordStore:
    arrays, about = load_arrays(folder)
    texts: dict[str, TextColumn] = {}
    for name in _TEXTS:
        wraps = tuple(Wrap(*wrap) for wrap in about[name])
        parts = {part: arrays[f"{name}-{part}"] for part in ("codes", "blob", "ends")}
        texts[name] = TextColumn.of(wraps, parts, texts.get("sample_id"))
    prefix = "number-"
    numbers = {
        name.removeprefix(prefix): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }
    return RecordStore(texts, numbers, rows=rows, folder=folder, splits=splits)
