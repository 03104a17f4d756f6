"""The store: activations of the frozen part of a model, by image and augmentation variant."""

from __future__ import annotations

import logging
import os
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import torch
from torch import Tensor

from samft.embeddings.index import MAX_DIMS, TAG_BYTES, IndexRecord
from samft.embeddings.key import EntryKey, StoreKey
from samft.embeddings.manifest import MANIFEST, check_folder, prepare_folder
from samft.embeddings.shard import Shard, list_shards
from samft.embeddings.storage_types import (
    TORCH_TYPES,
    Overflow,
    check_storage_type,
    raw_bytes,
    to_storage,
)
from samft.embeddings.writer import ShardWriter, adopt_unfinished
from samft.errors import ConfigError, MachineError, OutputError

_log = logging.getLogger(__name__)

Mode = Literal["read", "write"]
SHARD_BYTES: Final = 256 * 2**20
_COMMIT_S: Final = 1.0
_REFRESH_S: Final = 1.0


@dataclass(kw_only=True, slots=True)
class StoreCounts:
    """What happened in this process since the store was opened.

    Args:
        written: Entries put.
        saturated: Values clipped to the range of the stored type.
        damaged: Entries whose bytes were not those once written; they count as missing.
    """

    written: int = 0
    saturated: int = 0
    damaged: int = 0


class EmbeddingStore:
    """Tensors on disk that any number of processes read and write at once.

    Each writer appends to shards of its own and sees the entries of the others; two that put the
    same entry do no harm. A process may be killed at any moment: what it had committed stays, and
    the rest (at most the work of about a second) is missing. The first read of an entry in a
    process verifies its checksum.

    A store opened for writing belongs to the process that opened it; forked children can read.
    Sent to another process it arrives open for reading. One thread at a time.

    Args:
        root: Folder of all stores.
        key: What the entries depend on; names the folder within `root`.
        mode: `read`, which gives an empty store where there is none yet, or `write`.
        overflow: What becomes of values too large for the key's type: `refuse` raises, `saturate`
            clips and counts them.
        shard_bytes: Size at which a new shard is begun.
        commit_seconds: Longest time between two commits while entries are put; 0 commits each.

    Attributes:
        counts: What happened since.

    Raises:
        ConfigError: if the key is malformed.
        OutputError: if the store's folder holds something else.
        MachineError: if the disk is full or cannot be written.
    """

    def __init__(
        self,
        root: str | Path,
        key: StoreKey,
        *,
        mode: Mode = "read",
        overflow: Overflow = "refuse",
        shard_bytes: int = SHARD_BYTES,
        commit_seconds: float = _COMMIT_S,
    ) -> None:
        check_storage_type(key.dtype)
        self.root, self.key, self.mode = Path(root).expanduser(), key, mode
        self.folder = self.root / key.folder_name
        self.counts = StoreCounts()
        self.dtype = TORCH_TYPES[key.dtype]
        self._overflow, self._shard_bytes = overflow, shard_bytes
        self._commit_seconds = commit_seconds
        self._tag = bytes.fromhex(key.digest)[:TAG_BYTES]
        self._found: dict[EntryKey, list[tuple[Shard, IndexRecord]]] = {}
        self._seen: dict[str, int] = {}
        self._verified: set[tuple[str, int]] = set()
        self._process = os.getpid()
        self._writer = self._begin_writing() if mode == "write" else None
        check_folder(self.folder, key)
        with suppress(OSError):
            os.utime(self.folder / MANIFEST)  # tells `clear` when the store was last used
        self.refresh()

    @classmethod
    def open(
        cls,
        root: str | Path,
        key: StoreKey,
        *,
        mode: Mode = "read",
        **settings: Any,  # Any: those of the class
    ) -> Self:
        """Open a store, see the class."""
        return cls(root, key, mode=mode, **settings)

    def __reduce__(self) -> tuple[Any, ...]:  # Any: prescribed by pickle
        return type(self), (self.root, self.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        with suppress(MachineError):  # the error in flight says more
            self.close()

    def __len__(self) -> int:
        """Entries known to this process, see `refresh`."""
        return len(self._found.keys() | self._pending)

    def __contains__(self, entry: object) -> bool:
        return entry in self._found or entry in self._pending

    @property
    def entries(self) -> list[EntryKey]:
        """Keys of all committed entries known to this process."""
        return list(self._found)

    def has(self, entry: EntryKey) -> bool:
        """Tell whether an entry is there; looks for what others wrote, but not all the time."""
        if entry not in self and time.monotonic() - self._refresh_time > _REFRESH_S:
            self.refresh()
        return entry in self

    def missing(self, entries: Iterable[EntryKey]) -> list[EntryKey]:
        """Return those of `entries` that are not there, each once, in the same order."""
        self.refresh()
        return [entry for entry in dict.fromkeys(entries) if entry not in self]

    def get(self, entry: EntryKey, *, dtype: torch.dtype | None = None) -> Tensor | None:
        """Return an entry, or `None` if it is missing or damaged.

        Args:
            entry: Its key.
            dtype: Type to convert to; `None` for the stored type, which costs no copy: the tensor
                is a private view of the file. To keep hundreds of them, clone them: each holds one
                of the files that the system lets a process open.

        Raises:
            MachineError: if the system gives no further view, or the disk fails.
        """
        if not self.has(entry):
            return None
        if entry in self._pending:
            self.flush()
        places = self._found.get(entry, [])
        while places:
            tensor = self._read(*places[-1])
            if tensor is not None:
                return tensor if dtype is None else tensor.to(dtype)
            places.pop()
        self._found.pop(entry, None)
        return None

    def put(self, entry: EntryKey, tensor: Tensor) -> bool:
        """Store an entry unless it is there; tells whether it was written.

        Args:
            entry: Its key.
            tensor: Up to 8 dimensions, any device, any floating type; stored in the key's type.

        Raises:
            ConfigError: if values do not fit the type, or there are too many dimensions.
            TrainingError: if values are not finite.
            OutputError: if this process did not open the store for writing.
            MachineError: if the disk is full or cannot be written; what is stored stays readable.
        """
        self._check_writable()
        if entry in self:
            return False
        if tensor.ndim > MAX_DIMS:
            raise ConfigError(
                "a tensor with so many dimensions cannot be stored",
                found=tuple(tensor.shape),
                expected=f"at most {MAX_DIMS} dimensions",
            )
        stored, clipped = to_storage(tensor, self.key.dtype, overflow=self._overflow)
        if clipped and not self.counts.saturated:
            _log.warning("%s: values too large for %s are clipped", self.folder, self.key.dtype)
        with self._storing():
            writer = self._writer_for(stored.nbytes)
            writer.append(entry, stored)
            if writer.seconds_since_commit >= self._commit_seconds:
                self._commit(writer)
        self.counts.saturated += clipped
        self.counts.written += 1
        return True

    def flush(self) -> None:
        """Commit what was put: on disk, and visible to every process.

        Raises:
            MachineError: if the disk is full or cannot be written.
        """
        if self._writer is not None and self._is_own:
            with self._storing():
                self._commit(self._writer)

    def refresh(self) -> None:
        """Take note of what other processes committed; costs a look at each shard's size."""
        self._refresh_time = time.monotonic()
        with self._reading():
            for shard in list_shards(self.folder):
                self._catch_up(shard)

    def forget(self, entry: EntryKey) -> None:
        """Ask the system to drop an entry from memory, so that the next `get` reads the disk."""
        for shard, record in self._found.get(entry, []):
            with suppress(OSError):
                shard.forget(record, self.dtype)

    def close(self) -> None:
        """Commit and let go of the files; the store goes on as one open for reading.

        Raises:
            MachineError: if the last entries could not be committed.
        """
        if not self._is_own:
            return
        writer, self._writer, self.mode = self._writer, None, "read"
        if writer is None:
            return
        with self._storing():
            writer.close()
        self._catch_up(writer.shard)

    @property
    def _is_own(self) -> bool:
        return self._process == os.getpid()

    @property
    def _pending(self) -> dict[EntryKey, IndexRecord]:
        """Entries not committed; those of a forked child's parent are none of its business."""
        return self._writer.pending if self._writer is not None and self._is_own else {}

    def _begin_writing(self) -> ShardWriter | None:
        with self._storing():
            prepare_folder(self.folder, self.key)
            return adopt_unfinished(
                self.folder,
                tag=self._tag,
                item_bytes=self.dtype.itemsize,
                max_bytes=self._shard_bytes,
            )

    def _writer_for(self, num_bytes: int) -> ShardWriter:
        """Return a writer whose shard has room; a new shard takes an entry of any size."""
        writer = self._writer
        if writer is not None and writer.num_bytes > max(0, self._shard_bytes - num_bytes):
            self._writer = None
            writer.close()
            self._catch_up(writer.shard)
        if self._writer is None:
            self._writer = ShardWriter.create(self.folder, self._tag)
        return self._writer

    def _commit(self, writer: ShardWriter) -> None:
        writer.commit()
        self._catch_up(writer.shard)

    def _catch_up(self, shard: Shard) -> None:
        records, self._seen[shard.name] = shard.records(self._tag, self._seen.get(shard.name, 0))
        for record in records:
            self._found.setdefault(record.entry, []).append((shard, record))

    def _read(self, shard: Shard, record: IndexRecord) -> Tensor | None:
        with self._reading():
            tensor = shard.read(record, self.dtype)
        place = shard.name, record.offset
        if tensor is not None and place in self._verified:
            return tensor
        if tensor is not None and zlib.crc32(raw_bytes(tensor)) == record.crc:
            self._verified.add(place)
            return tensor
        self.counts.damaged += 1
        _log.warning("%s: a damaged entry at byte %d is left out", shard.data, record.offset)
        return None

    def _check_writable(self) -> None:
        if self.mode == "write" and self._is_own:
            return
        raise OutputError(
            "this process did not open the store for writing",
            where=self.folder,
            found="a forked process" if self.mode == "write" else "open for reading",
            fix='open it in this process with mode="write"',
        )

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MachineError(
                "the embeddings cannot be cached",
                where=self.folder,
                found=error.strerror or type(error).__name__,
                fix="free some disk space or choose another folder, or train without the cache",
            ) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MachineError(
                "the cached embeddings cannot be read",
                where=self.folder,
                found=error.strerror or type(error).__name__,
                fix="use fewer open entries or workers, or train without the cache",
            ) from error
