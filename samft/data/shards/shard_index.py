"""The table of a shard: for each sample its key and where its files lie; made once, then kept."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from samft.data.index_cache import index_dir
from samft.data.readers.array_files import ARRAY_ERRORS
from samft.data.shards.sample_files import ENDINGS, FileKind, kinds_of, split_member
from samft.data.shards.tar_members import Member, read_members
from samft.errors import DatasetError, MachineError

_log = logging.getLogger(__name__)
_VERSION: Final = 1
_MAX_KEY: Final = 1024  # bytes
_MAX_FILE: Final = 2**32 - 1  # bytes
KINDS: Final[tuple[FileKind, ...]] = ("image", "label", "class", "text")

Table = NDArray[Any]
"""One row per sample: `hash` of its key; for each kind of `KINDS` its place `image` (byte in the
tar), `image_size` (0: there is none), `image_ending` (number in `ENDINGS`), ...; and `key`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """A tar file and its table.

    Args:
        path: The tar file.
        stored: The file with its table.
        samples: How many samples there are.
    """

    path: Path
    stored: Path
    samples: int

    def table(self, *, mapped: bool = True) -> Table:
        """Return the table, mapped into memory or read into it."""
        if mapped and self.samples:
            return np.load(self.stored, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]  # numpy does not say
        return np.load(self.stored, allow_pickle=False)  # type: ignore[no-any-return]  # as above


def open_shard(path: Path) -> Shard:
    """Return a shard with its table, which is made if there is none for this state of the file.

    Tables lie in `index_dir() / "shards"` under a name made of the shard's path, size and time of
    change.

    Raises:
        DatasetError: if the tar is damaged or holds no sample.
    """
    state = path.stat()
    about = f"{_VERSION}\n{path}\n{state.st_size}\n{state.st_mtime_ns}"
    name = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    stored = index_dir() / "shards" / f"{name}.npy"
    samples = _stored_samples(stored)
    if samples is None:
        table = tabulate(path, read_members(path))
        _store(stored, table)
        samples = table.size
    return Shard(path=path, stored=stored, samples=samples)


def _stored_samples(stored: Path) -> int | None:
    """Return the number of rows of a stored table; `None` if there is none yet, or half of one."""
    try:
        with stored.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            size = file.tell() + math.prod(shape) * dtype.itemsize
            is_table = len(shape) == 1 and {"hash", "key"} <= set(dtype.names or ())
            whole = is_table and os.fstat(file.fileno()).st_size == size
    except ARRAY_ERRORS:
        return None
    return int(shape[0]) if whole else None


def tabulate(path: Path, members: Iterable[Member]) -> Table:
    """Group the files of a shard to samples, in the order of their first files.

    Files without an ending that is known are left out, and samples without an image too; how many
    is logged.

    Args:
        path: The tar file, for messages.
        members: Its files.

    Raises:
        DatasetError: if a sample has two images or two labels, or there is none at all.
    """
    samples: dict[str, dict[str, Member]] = {}
    left_out: Counter[str] = Counter()
    for member in members:
        parts = split_member(member.name)
        if parts is None:
            left_out["files of other kinds"] += 1
            continue
        files = samples.setdefault(parts[0], {})
        if parts[1] in files:
            raise _two(path, parts[0], files[parts[1]], member)
        files[parts[1]] = member
    rows = []
    for key, files in samples.items():
        places = _places(path, key, files)
        if "image" in places:
            rows.append((key, places))
        else:
            left_out["samples without an image"] += 1
    if left_out:
        text = ", ".join(f"{count} {what}" for what, count in left_out.items())
        _log.info("%s: %s left out", path.name, text)
    if not rows:
        raise DatasetError(
            "the shard holds no sample",
            where=path,
            found=", ".join(f"{count} {what}" for what, count in left_out.items()) or "no files",
            expected="files such as 000.jpg with 000.json or 000.mask.png",
        )
    return _table(path, rows)


def _places(path: Path, key: str, files: dict[str, Member]) -> dict[FileKind, tuple[str, Member]]:
    places: dict[FileKind, tuple[str, Member]] = {}
    for ending, kind in kinds_of(tuple(files)).items():
        member = files[ending]
        if kind in places:
            raise _two(path, key, places[kind][1], member)
        if member.size > _MAX_FILE:
            raise DatasetError(
                "a file in a shard is too large", where=path, found=f"{member.size} bytes"
            )
        if member.size == 0 and kind in ("image", "label"):
            raise DatasetError("a file in a shard is empty", where=path, found=member.name)
        places[kind] = ending, member
    return places


def _table(path: Path, rows: list[tuple[str, dict[FileKind, tuple[str, Member]]]]) -> Table:
    keys = [key.encode("utf-8", "surrogateescape") for key, _ in rows]
    longest = max(map(len, keys))
    if longest > _MAX_KEY:
        raise DatasetError(
            "a file in a shard has too long a name",
            where=path,
            found=f"{longest} bytes",
            expected=f"at most {_MAX_KEY}",
        )
    used = [kind for kind in KINDS if any(kind in places for _, places in rows)]
    fields: list[tuple[str, str]] = [("hash", "<u8")]
    for kind in used:
        fields += [(kind, "<u8"), (f"{kind}_size", "<u4"), (f"{kind}_ending", "u1")]
    table = np.zeros(len(rows), np.dtype([*fields, ("key", f"S{longest}")]))
    table["key"] = keys
    table["hash"] = [key_hash(key) for key in keys]
    for kind in used:
        for row, (_, places) in enumerate(rows):
            if kind in places:
                ending, member = places[kind]
                table[kind][row] = member.offset
                table[f"{kind}_size"][row] = member.size
                table[f"{kind}_ending"][row] = ENDINGS.index(ending)
    return table


def key_hash(key: bytes) -> int:
    """Return 64 bits of SHA-256 of a key."""
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big")


def _two(path: Path, key: str, first: Member, second: Member) -> DatasetError:
    return DatasetError(
        "a sample in a shard has two files for one purpose",
        where=path,
        found=f"{first.name} and {second.name}",
        expected=f"one image and one label file of {key}",
        fix="pack it again, with one of them under another name",
    )


def _store(stored: Path, table: Table) -> None:
    try:
        stored.parent.mkdir(parents=True, exist_ok=True)
        folder = stored.parent
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writing-", delete=False) as file:
            np.save(file, table, allow_pickle=False)
        os.replace(file.name, stored)  # noqa: PTH105  # atomic, also over an older one
    except OSError as error:
        raise MachineError(
            "the table of a shard cannot be kept",
            where=stored.parent,
            found=error.strerror or str(error),
            fix="free some disk space, or choose another folder with SAMFT_CACHE",
        ) from error
