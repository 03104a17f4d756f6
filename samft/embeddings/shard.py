"""The files of a shard, and how an entry is read from them."""

from __future__ import annotations

import hashlib
import mmap
import os
import platform
import re
import uuid
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from samft.embeddings.index import RECORD_BYTES, IndexRecord, decode_all

ALIGNMENT: Final = 64
"""Entries start at multiples of this: enough for every type and for vector instructions."""
SUFFIXES: Final = (".data", ".index", ".lock")
_MOST_VALUES: Final = 2**60
_NAME = re.compile(r"[0-9a-f]{8}-[0-9]+-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Shard:
    """One pair of append-only files, written by one process at a time.

    The data file holds the entries, the index file a record of each that is complete; an entry
    without a record does not exist. Who writes holds the lock file.

    Args:
        folder: The store's folder.
        name: Machine (hashed), process and a random number: no two writers choose the same.
    """

    folder: Path
    name: str

    @classmethod
    def new(cls, folder: Path) -> Self:
        """Return a shard that nobody else has; no file is made."""
        return cls(folder, f"{_this_machine()}-{os.getpid()}-{uuid.uuid4().hex[:12]}")

    @property
    def data(self) -> Path:
        """The entries."""
        return self.folder / f"{self.name}.data"

    @property
    def index(self) -> Path:
        """The records."""
        return self.folder / f"{self.name}.index"

    @property
    def lock(self) -> Path:
        """Held by the process that writes."""
        return self.folder / f"{self.name}.lock"

    @property
    def is_of_this_machine(self) -> bool:
        """Whether it was begun here, so that its lock can be relied on."""
        return self.name.startswith(_this_machine())

    def records(self, tag: bytes, start: int = 0) -> tuple[list[IndexRecord], int]:
        """Return the valid records from byte `start` on, and where the last of them ends.

        Args:
            tag: First bytes of the store's digest.
            start: What an earlier call returned.
        """
        try:
            if self.index.stat().st_size < start + RECORD_BYTES:
                return [], start
            with self.index.open("rb") as file:
                file.seek(start)
                records, used = decode_all(file.read(), tag)
        except FileNotFoundError:  # cleared meanwhile
            return [], start
        return records, start + used

    def read(self, record: IndexRecord, dtype: torch.dtype) -> Tensor | None:
        """Return an entry as a view of the file, or `None` if the file is not long enough.

        Every call maps the file anew and privately: what is written into the tensor reaches neither
        the file nor a later reader.

        Raises:
            OSError: if the system gives no further mapping.
        """
        count = prod(record.shape)
        if prod(length or 1 for length in record.shape) > _MOST_VALUES:
            return None  # torch multiplies the lengths beside one of 0 too
        if count == 0:
            return torch.empty(record.shape, dtype=dtype)
        start = record.offset - record.offset % mmap.ALLOCATIONGRANULARITY
        length = record.end(dtype.itemsize) - start
        try:
            with self.data.open("rb") as file:
                mapped = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_COPY, offset=start)
        except (FileNotFoundError, ValueError, OverflowError):
            return None
        flat = torch.frombuffer(mapped, dtype=dtype, count=count, offset=record.offset - start)
        return flat.reshape(record.shape)

    def forget(self, record: IndexRecord, dtype: torch.dtype) -> None:
        """Ask the system to drop an entry from memory, so that the next read is one of the disk."""
        if not hasattr(os, "posix_fadvise"):  # macOS and Windows cannot
            return
        length = record.end(dtype.itemsize) - record.offset
        with self.data.open("rb") as file:
            if record.offset + length > os.fstat(file.fileno()).st_size:
                return
            os.posix_fadvise(file.fileno(), record.offset, length, os.POSIX_FADV_DONTNEED)


def list_shards(folder: Path) -> list[Shard]:
    """Return the shards in a store's folder, sorted by name; none if it does not exist.

    One of which a file is a symbolic link is left out: what it leads to is nobody's to cut.
    """
    try:
        with os.scandir(folder) as files:
            links = {file.name: file.is_symlink() for file in files if is_shard_file(file.name)}
    except FileNotFoundError:
        return []
    linked = {Path(name).stem for name, is_link in links.items() if is_link}
    begun = {Path(name).stem for name in links if name.endswith(".index")}
    return [Shard(folder, name) for name in sorted(begun - linked)]


def is_shard_file(name: str) -> bool:
    """Tell whether a file's name is that of a part of a shard."""
    stem, dot, suffix = name.partition(".")
    return dot + suffix in SUFFIXES and _NAME.fullmatch(stem) is not None


def aligned(offset: int) -> int:
    """Return the first aligned offset from `offset` on."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _this_machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
