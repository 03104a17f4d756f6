"""Shards as one sequence of samples, each of which is one or two reads from a known place."""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samft.data.files import relative_name
from samft.data.readers.limits import check_declared_size
from samft.data.shards.sample_files import ENDINGS, FileKind
from samft.data.shards.shard_index import KINDS, Shard, Table, open_shard
from samft.errors import DatasetError

_log = logging.getLogger(__name__)
_MAX_OPEN: Final = 64
_SCANNERS: Final = 8  # threads that read headers: they mostly wait for the disk
_REPORT_EVERY: Final = 10.0  # seconds


class StoredFile(NamedTuple):
    """A file in a shard.

    Args:
        ending: Its ending, one of `ENDINGS`.
        offset: Where it begins in the shard, bytes.
        size: Its length, bytes.
    """

    ending: str
    offset: int
    size: int


class ShardEntry(NamedTuple):
    """A sample in a shard.

    Args:
        shard: Number of the shard in its set.
        key: What the names of its files have in common.
        files: Its files by what they are for.
    """

    shard: int
    key: str
    files: dict[FileKind, StoredFile]


def open_shards(paths: Sequence[Path]) -> list[Shard]:
    """Open shards in the given order; those that are new are tabulated, several at a time.

    Raises:
        DatasetError: if one is damaged.
    """
    shards: list[Shard] = []
    reported = time.monotonic()
    with ThreadPoolExecutor(_SCANNERS) as pool:
        for shard in pool.map(open_shard, paths):
            shards.append(shard)
            if time.monotonic() - reported > _REPORT_EVERY:
                reported = time.monotonic()
                _log.info("%d of %d shards are indexed", len(shards), len(paths))
    return shards


class ShardSet(Sequence[ShardEntry]):
    """The samples of shards, or some of them.

    Args:
        root: The folder below which the shards lie.
        shards: The shards.
        rows: (n,) whole numbers, ascending: the samples of this set, counted over all shards;
            `None` for all.
    """

    def __init__(
        self, root: Path, shards: Sequence[Shard], rows: NDArray[Any] | None = None
    ) -> None:
        self.root = root
        self.shards = tuple(shards)
        self.rows = rows
        self.starts = np.cumsum([0, *(shard.samples for shard in shards)])
        self._forget()

    def __len__(self) -> int:
        return int(self.starts[-1]) if self.rows is None else len(self.rows)

    def __getitem__(self, index: int) -> ShardEntry:  # type: ignore[override]  # no slices
        """Return where a sample lies."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        row = index if self.rows is None else int(self.rows[index])
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        found = self._table(shard)[row - int(self.starts[shard])]
        files: dict[FileKind, StoredFile] = {}
        for kind in KINDS:
            if kind in found.dtype.names and found[f"{kind}_size"]:
                ending = ENDINGS[found[f"{kind}_ending"]]
                files[kind] = StoredFile(ending, int(found[kind]), int(found[f"{kind}_size"]))
        return ShardEntry(shard, found["key"].decode("utf-8", "surrogateescape"), files)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many samples of this set lie in each shard."""
        if self.rows is None:
            return tuple(shard.samples for shard in self.shards)
        ends = np.searchsorted(self.rows, self.starts)
        return tuple(int(count) for count in np.diff(ends))

    def name(self, entry: ShardEntry) -> str:
        """Return a name for a sample that no other has: its shard and its key."""
        shard = relative_name(self.root, self.shards[entry.shard].path)
        return f"{shard.removesuffix('.tar')}/{entry.key}"

    def read(self, entry: ShardEntry, kind: FileKind) -> bytes:
        """Return the content of a file.

        Raises:
            DatasetError: if the shard can no longer be read, is shorter than it was, or the file is
                larger than allowed.
        """
        path, place = self.shards[entry.shard].path, entry.files[kind]
        check_declared_size(path, (max(1, place.size),), 1)
        try:
            file = self._file(entry.shard)
            file.seek(place.offset)
            content = file.read(place.size)
        except OSError as error:
            raise DatasetError(
                "the shard cannot be read", where=path, found=error.strerror or str(error)
            ) from error
        if len(content) != place.size:
            raise DatasetError(
                "the shard is incomplete",
                where=path,
                found=f"it ends before byte {place.offset + place.size}",
                fix="it was changed while it was used: start again, or copy it again",
            )
        return content

    def select(self, chosen: Callable[[Table], NDArray[np.bool_]]) -> NDArray[np.uint32]:
        """Return the rows for which a condition holds; reads the tables one by one.

        Args:
            chosen: Takes a table, returns for each of its rows whether it is wanted.
        """
        parts = [
            np.flatnonzero(chosen(shard.table(mapped=False))) + start
            for shard, start in zip(self.shards, self.starts, strict=False)
        ]
        return np.concatenate(parts).astype(np.uint32)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "shards": self.shards, "rows": self.rows, "starts": self.starts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._tables: dict[int, Table] = {}
        self._files: OrderedDict[int, BinaryIO] = OrderedDict()
        self._process = os.getpid()

    def _table(self, shard: int) -> Table:
        if shard not in self._tables:
            self._tables[shard] = self.shards[shard].table()
        return self._tables[shard]

    def _file(self, shard: int) -> BinaryIO:
        if self._process != os.getpid():  # the place in an open file is shared with the parent
            self._forget()
        if shard not in self._files:
            if len(self._files) >= _MAX_OPEN:
                self._files.popitem(last=False)[1].close()
            self._files[shard] = self.shards[shard].path.open("rb", buffering=0)
        self._files.move_to_end(shard)
        return self._files[shard]
