"""Zarr arrays of strangers, read part by part: in bounded memory, and nothing leads out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft._deps import require
from samft.data.readers.limits import check_declared_size, is_special, reading, unreadable
from samft.data.readers.zarr_chunks import unpacks_within
from samft.data.readers.zarr_nodes import ZARR_EXPECTED, ZarrHeader, array_header, read_node
from samft.data.roots import stays_inside
from samft.errors import DatasetError

Key = tuple[int | slice, ...]
"""What is wanted along every axis."""

_MOST_CHUNKS = 250_000  # in one part; opening so many files takes minutes
_METADATA = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
_MISSING = 2**64 - 1  # in the index of a shard


class ZarrArray:
    """A zarr array; opened when something is read.

    Args:
        folder: Where it lies.
        root: What nothing it consists of may lead out of.

    Raises:
        DatasetError: if it is none, is damaged, or its chunks are larger than allowed.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        node = read_node(folder)
        self.folder = folder
        self.root = root.resolve()
        self.version = node.version
        self.header: ZarrHeader = array_header(node)
        self._opened: Any = None  # Any: zarr is optional

    def __getstate__(self) -> dict[str, Any]:  # Any: whatever the attributes are
        # Workers open the array themselves.
        return {**self.__dict__, "_opened": None}

    def read(self, key: Key) -> NDArray[Any]:
        """Read a part; whole axes stay, single indices go.

        Raises:
            DatasetError: if it is larger than allowed, or a chunk is damaged or leads elsewhere.
            DependencyError: if zarr is not installed.
        """
        header = self.header
        spans = [_span(part, side) for part, side in zip(key, header.shape, strict=True)]
        lengths = [stop - start for start, stop in spans]
        check_declared_size(self.folder, lengths, header.dtype.itemsize)
        touched = math.prod(
            (stop - 1) // side - start // side + 1
            for (start, stop), side in zip(spans, header.chunks, strict=True)
        )
        if touched > _MOST_CHUNKS:
            raise DatasetError(
                "the array lies in too many pieces",
                where=self.folder,
                found=f"{touched} chunks of {' x '.join(map(str, header.chunks))} in one part",
                expected=f"at most {_MOST_CHUNKS}",
                fix="save it with larger chunks, such as 512 x 512",
            )
        with reading(self.folder, ZARR_EXPECTED):
            if self._opened is None:
                self._opened = self._open()
            values = np.asarray(self._opened[key])
            return values.astype(header.dtype.newbyteorder("="), copy=False)

    def _open(self) -> Any:  # Any: zarr is optional
        zarr = require("zarr", extra="microscopy", purpose="read zarr files")
        guard = _Guard(folder=self.folder, root=self.root, header=self.header)
        store = _guarded_store()(self.folder, guard=guard)
        return zarr.open_array(store=store, mode="r", zarr_format=self.version)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Guard:
    """Looks at every file of an array: where it lies, how large it is, what it unpacks to."""

    folder: Path
    root: Path
    header: ZarrHeader

    def before(self, key: str) -> None:
        """Refuse a file that lies elsewhere, or is larger than a chunk can be."""
        path = self.folder / key
        if not stays_inside(self.root, path):
            raise DatasetError(
                "a symbolic link leads out of the data folder",
                where=path,
                found=f"it points to {path.resolve()}",
                expected=f"a file below {self.root}",
                fix="copy the file, or set data.root to a folder that holds both",
            )
        if is_special(path) or (path.is_dir() and not _is_metadata(key)):
            raise unreadable(path, "a folder, a pipe or a device", self._expected())
        if _is_metadata(key) or not path.is_file():
            return
        size, shard = path.stat().st_size, self.header.shard
        index = 0 if shard is None else shard.nbytes
        if size > _with_slack(self._bytes(self.header.files)) + index:
            raise unreadable(path, f"{size} bytes", self._expected())

    def after(self, key: str, data: Any, part: Any) -> None:  # Any: zarr is optional
        """Refuse a chunk that would unpack to more than a chunk is.

        Args:
            key: The file.
            data: What was read of it.
            part: Which part that is; `None` for all of it.
        """
        header, shard = self.header, self.header.shard
        if not header.codec or _is_metadata(key):
            return
        limit = _with_slack(self._bytes(header.chunks))
        if shard is None or part is not None:
            index = shard is not None and (
                not hasattr(part, "start") or (shard.first and part.start == 0)
            )
            chunks = [] if index else [data.to_bytes()]
        else:
            chunks = _chunks_of(data.to_bytes(), shard.nbytes, first=shard.first)
        if not all(unpacks_within(chunk, header.codec, limit) for chunk in chunks):
            raise unreadable(self.folder / key, "more when it is unpacked", self._expected())

    def _bytes(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape) * self.header.dtype.itemsize

    def _expected(self) -> str:
        return f"chunks of {self._bytes(self.header.chunks)} bytes"


@cache
def _guarded_store() -> Any:  # Any: zarr is optional
    storage = require("zarr.storage", extra="microscopy", purpose="read zarr files")

    class GuardedStore(storage.LocalStore):  # type: ignore[misc,name-defined]  # zarr is optional
        """A folder of which every file is looked at before it is read and unpacked."""

        def __init__(self, root: Path, *, guard: _Guard) -> None:
            super().__init__(root, read_only=True)
            self.guard = guard

        async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
            self.guard.before(key)
            found = await super().get(key, prototype, byte_range)
            if found is not None:
                self.guard.after(key, found, byte_range)
            return found

    return GuardedStore


def _chunks_of(data: bytes, index_bytes: int, *, first: bool) -> list[bytes]:
    """Return the chunks of a shard that was read as a whole."""
    index = data[:index_bytes] if first else data[-index_bytes:]
    entries = np.frombuffer(index[: index_bytes // 16 * 16], "<u8").reshape(-1, 2)
    return [
        data[int(start) : int(start) + int(count)]
        for start, count in entries
        if int(start) != _MISSING
    ]


def _span(part: int | slice, side: int) -> tuple[int, int]:
    if isinstance(part, slice):
        start, stop, _ = part.indices(side)
        return start, stop
    return part, part + 1


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] in _METADATA


def _with_slack(count: int) -> int:
    # What does not compress grows a little.
    return 2 * count + 2**20
