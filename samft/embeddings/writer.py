"""Appends entries to a shard such that a crash at any moment leaves only whole ones visible."""

from __future__ import annotations

import os
import time
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, Self

from filelock import FileLock, Timeout
from torch import Tensor

from samft.embeddings.index import MAX_DIMS, IndexRecord
from samft.embeddings.key import EntryKey
from samft.embeddings.shard import Shard, aligned, list_shards
from samft.embeddings.storage_types import raw_bytes

_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)  # O_BINARY: Windows


class ShardWriter:
    """The one process that appends to a shard.

    Data comes first: an entry's record is written when its bytes are safely on disk. Entries that
    wait for that are `pending`; nobody is given them, so that they can be taken back. What is not
    committed when the process dies is overwritten by the next one that opens the shard.

    Args:
        shard: The shard; its lock is held.
        lock: That lock, released by `close`; `None` where the file system has none.
        data_end: Where the entries that count end.
        index_end: Where their records end.
        tag: First bytes of the store's digest.

    Attributes:
        pending: Entries written but not committed.

    Raises:
        OSError: if the files cannot be opened or cut.
    """

    def __init__(
        self, shard: Shard, lock: FileLock | None, *, data_end: int, index_end: int, tag: bytes
    ) -> None:
        self.shard = shard
        self.pending: dict[EntryKey, IndexRecord] = {}
        self._tag = tag
        self._data_end = data_end
        self._index_end = index_end
        self._commit_time = time.monotonic()
        with ExitStack() as opened:
            if lock is not None:
                opened.callback(lock.release)
            self._data = _open_cut(shard.data, data_end, opened)
            self._index = _open_cut(shard.index, index_end, opened)
            _sync_folder(shard.folder)
            self._opened = opened.pop_all()

    @classmethod
    def create(cls, folder: Path, tag: bytes) -> Self:
        """Begin a new shard.

        Raises:
            OSError: if its files cannot be made.
        """
        shard = Shard.new(folder)
        return cls(shard, _lock(shard), data_end=0, index_end=0, tag=tag)

    @classmethod
    def adopt(cls, shard: Shard, *, tag: bytes, item_bytes: int) -> Self | None:
        """Take over a shard whose writer is gone, without what it left unfinished.

        Args:
            shard: A shard that was begun on this machine.
            tag: First bytes of the store's digest.
            item_bytes: Size of a stored value.

        Returns:
            `None` if somebody writes to it, or if its data file is shorter than its index says.

        Raises:
            OSError: if its files cannot be opened or cut.
        """
        lock = _lock(shard)
        if lock is None:
            return None
        records, index_end = shard.records(tag)
        data_end = max((record.end(item_bytes) for record in records), default=0)
        if shard.data.is_file() and shard.data.stat().st_size >= data_end:
            return cls(shard, lock, data_end=data_end, index_end=index_end, tag=tag)
        lock.release()
        return None

    @property
    def num_bytes(self) -> int:
        """Bytes of all entries, pending ones included."""
        return self._data_end

    @property
    def seconds_since_commit(self) -> float:
        """How long the oldest pending entry may have waited."""
        return time.monotonic() - self._commit_time

    def append(self, entry: EntryKey, tensor: Tensor) -> None:
        """Write an entry's bytes; it counts after `commit`.

        Args:
            entry: Its key.
            tensor: Contiguous, on the CPU, in the stored type, at most 8 dimensions.

        Raises:
            OSError: if the bytes cannot be written; the shard is as before.
        """
        assert tensor.ndim <= MAX_DIMS  # the store has checked
        payload = raw_bytes(tensor)
        offset = aligned(self._data_end)
        _write_at(self._data, offset, payload, back_to=self._data_end)
        self.pending[entry] = IndexRecord(
            entry=entry, offset=offset, shape=tuple(tensor.shape), crc=zlib.crc32(payload)
        )
        self._data_end = offset + len(payload)

    def commit(self) -> None:
        """Make pending entries visible to everybody, for good.

        Raises:
            OSError: if that fails; nothing is pending then. The bytes of what was stay unused: a
                reader may have seen a record before it was taken back.
        """
        self._commit_time = time.monotonic()
        if not self.pending:
            return
        records = b"".join(record.encode(self._tag) for record in self.pending.values())
        self.pending.clear()
        os.fsync(self._data)
        _write_at(self._index, self._index_end, memoryview(records), back_to=self._index_end)
        self._index_end += len(records)
        os.fsync(self._index)

    def close(self) -> None:
        """Commit, and let go of the shard.

        Raises:
            OSError: if pending entries could not be committed; the shard is let go all the same.
        """
        with self._opened:
            self.commit()


def adopt_unfinished(
    folder: Path, *, tag: bytes, item_bytes: int, max_bytes: int
) -> ShardWriter | None:
    """Clean up after dead writers of this machine; go on with their emptiest shard.

    Args:
        folder: The store's folder.
        tag: First bytes of the store's digest.
        item_bytes: Size of a stored value.
        max_bytes: Size at which a shard is full.

    Returns:
        `None` if all are full, or somebody writes to them.

    Raises:
        OSError: if a shard cannot be opened or cut.
    """
    chosen: ShardWriter | None = None
    for shard in list_shards(folder):
        if not shard.is_of_this_machine:
            continue
        writer = ShardWriter.adopt(shard, tag=tag, item_bytes=item_bytes)
        if writer is not None and writer.num_bytes < max_bytes:
            max_bytes = writer.num_bytes
            chosen, writer = writer, chosen
        if writer is not None:
            writer.close()
    return chosen


def is_being_written(shard: Shard) -> bool:
    """Tell whether a process holds the shard's lock.

    Raises:
        OSError: if the lock file cannot be opened.
    """
    lock = FileLock(shard.lock, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except NotImplementedError:
        return False
    lock.release()
    return False


def _lock(shard: Shard) -> FileLock | None:
    lock = FileLock(shard.lock, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, NotImplementedError):  # the latter: a file system without locks
        return None
    return lock


def _open_cut(path: Path, size: int, opened: ExitStack) -> int:
    descriptor = os.open(path, _FLAGS, 0o644)
    opened.callback(os.close, descriptor)
    if os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)
    return descriptor


def _write_at(descriptor: int, offset: int, payload: memoryview, *, back_to: int) -> None:
    """Write all bytes at `offset`; on failure cut the file back to the size `back_to`."""
    try:
        os.lseek(descriptor, offset, os.SEEK_SET)
        while payload:
            payload = payload[os.write(descriptor, payload) :]
    except OSError:
        _cut(descriptor, back_to)
        raise


def _cut(descriptor: int, size: int) -> None:
    # Frees the space at once; should it fail, the next entry overwrites the rest.
    with suppress(OSError):
        os.ftruncate(descriptor, size)


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder survive a power failure."""
    if os.name == "nt":  # does so itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
