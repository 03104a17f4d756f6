"""The folder of all stores: list them, and delete them without touching anything else."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from samft.embeddings.index import TAG_BYTES
from samft.embeddings.manifest import MANIFEST, Manifest
from samft.embeddings.shard import is_shard_file, list_shards
from samft.embeddings.writer import is_being_written
from samft.errors import ConfigError, MachineError, OutputError, did_you_mean
from samft.models.cache import weights_dir

_log = logging.getLogger(__name__)

_STORE_NAME = re.compile(r"[0-9a-f]{16}")
_INTERRUPTED = re.compile(re.escape(MANIFEST) + r"\.[0-9]+-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreInfo:
    """One row of the table of stores.

    Args:
        folder: Where it is.
        what: What the entries are, in words.
        arch: The architecture; empty if the key does not tell.
        dtype: Type of the stored values.
        num_entries: Different entries.
        num_bytes: Size on disk.
        shapes: Shapes that entries have, sorted.
        created: When it was begun.
        used: When it was last opened or written.
    """

    folder: Path
    what: str
    arch: str
    dtype: str
    num_entries: int
    num_bytes: int
    shapes: tuple[tuple[int, ...], ...]
    created: datetime
    used: datetime

    @property
    def name(self) -> str:
        """The folder's name, the first 16 digits of the key's digest."""
        return self.folder.name


def embeddings_dir() -> Path:
    """Return the folder for stores, beside that for weights; it need not exist."""
    return weights_dir().parent / "embeddings"


def list_stores(root: Path) -> list[Path]:
    """Return the folders in `root` that are stores, sorted by name.

    A store is a folder, not a link to one, named by the digest that its `store.json` holds.
    """
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if _is_store(path))


def info(root: Path) -> list[StoreInfo]:
    """Return what stores there are, the last used first."""
    rows = [row for path in list_stores(root) if (row := _describe(path)) is not None]
    return sorted(rows, key=lambda row: row.used, reverse=True)


def clear(
    root: Path, *, name: str | None = None, older_than: timedelta | None = None
) -> list[StoreInfo]:
    """Delete stores; returns what they were.

    Only files that a store consists of are deleted, in folders that are stores: a link leads
    nowhere, and a folder that holds other files too stays with these.

    Args:
        root: Folder of all stores.
        name: Only the store of this name.
        older_than: Only stores that were last used longer ago.

    Raises:
        ConfigError: if there is no store of that name.
        OutputError: if a process writes to one of them; none is deleted then.
        MachineError: if a file cannot be deleted.
    """
    rows = info(root)
    if name is not None and name not in {row.name for row in rows}:
        raise ConfigError(
            "there is no such store of embeddings",
            where=root,
            found=name,
            fix=did_you_mean(name, [row.name for row in rows]) if rows else "nothing is cached",
        )
    now = datetime.now(UTC)
    chosen = [
        row
        for row in rows
        if name in {None, row.name} and (older_than is None or now - row.used > older_than)
    ]
    try:
        for row in chosen:
            _check_unused(row.folder)
        for row in chosen:
            _delete(row.folder)
    except OSError as error:
        raise MachineError(
            "cached embeddings could not be deleted",
            where=error.filename or root,
            found=error.strerror or type(error).__name__,
        ) from error
    return chosen


def _is_store(path: Path) -> bool:
    return (
        _STORE_NAME.fullmatch(path.name) is not None
        and path.is_dir()
        and not path.is_symlink()
        and Manifest.read(path) is not None
    )


def _describe(folder: Path) -> StoreInfo | None:
    manifest = Manifest.read(folder)
    stats = _part_stats(folder)
    if manifest is None or not stats:  # deleted meanwhile
        return None
    tag = bytes.fromhex(manifest.digest)[:TAG_BYTES]
    records = [record for shard in list_shards(folder) for record in shard.records(tag)[0]]
    model = manifest.parts.get("model")
    return StoreInfo(
        folder=folder,
        what=manifest.what,
        arch=str(model.get("arch", "")) if isinstance(model, dict) else "",
        dtype=manifest.dtype,
        num_entries=len({record.entry for record in records}),
        num_bytes=sum(stat.st_size for stat in stats),
        shapes=tuple(sorted({record.shape for record in records})),
        created=manifest.created,
        used=datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC),
    )


def _part_stats(folder: Path) -> list[os.stat_result]:
    try:
        return [path.lstat() for path in folder.iterdir() if _is_part(path.name)]
    except FileNotFoundError:
        return []


def _check_unused(folder: Path) -> None:
    for shard in list_shards(folder):
        if is_being_written(shard):
            raise OutputError(
                "a running process writes to this store of embeddings",
                where=folder,
                fix="wait for it to end, or stop it",
            )


def _delete(folder: Path) -> None:
    """Delete a store's files; until the last one goes, the folder is known as a store."""
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix != ".index"):
        if _is_part(path.name) and path.name != MANIFEST:
            path.unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError:
        _log.warning("%s: files that are no part of the store were left there", folder)


def _is_part(name: str) -> bool:
    return name == MANIFEST or is_shard_file(name) or _INTERRUPTED.fullmatch(name) is not None
