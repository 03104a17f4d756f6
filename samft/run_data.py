"""What data a run was trained on, compactly, and what has become of it since."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from samft.data.datamodule import SamDataModule
from samft.data.records import SPLITS, Split
from samft.data.sharded_datamodule import ShardedDataModule
from samft.errors import CheckpointError

DATA_RECORD: Final = "data.json"
HASH_SECONDS: Final = 10.0
"""How long the contents of files are read for their hashes; what is left has size and time only."""

_LISTED: Final = 20_000  # files of a split that are listed one by one
_PARTS: Final = 256  # groups of files that have a digest each, where there are more
_SHOWN: Final = 6
_BLOCK: Final = 2**20

Described = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class FileState:
    """A file, or a folder that is read as one.

    Args:
        size: Bytes; of a folder, those of all files in it.
        modified: Time of the last change, nanoseconds; of a folder, the latest in it.
    """

    size: int
    modified: int

    @classmethod
    def of(cls, path: Path) -> FileState | None:
        """Look at a file; `None` where there is none."""
        try:
            if not path.is_dir():
                found = path.stat()
                return cls(found.st_size, found.st_mtime_ns)
            inside = [one.stat() for one in path.rglob("*") if one.is_file()]
        except OSError:
            return None
        return cls(
            sum(one.st_size for one in inside), max((one.st_mtime_ns for one in inside), default=0)
        )


def describe_data(data: object, *, seconds: float = HASH_SECONDS) -> Described:
    """Return the samples and files of every split, as plain data for JSON.

    Up to 20,000 files of a split are listed with size, time of change and, as far as the time goes,
    a hash of their contents. Of more there are digests of 256 groups, without their contents.

    Args:
        data: A datamodule, indexed. Of those that read no files there is nothing to describe.
        seconds: How long contents may be read.
    """
    deadline = time.monotonic() + seconds
    splits = {}
    for split in SPLITS:
        ids, files = _contents(data, split)
        if ids["samples"]:
            listing = _states(files)
            splits[split] = ids | _described(listing, files, deadline)
    return {"format": "samft-data", "version": 1, "splits": splits}


def data_changes(stored: Described, data: object) -> list[str]:
    """Return what has changed since `describe_data`, in words; empty for nothing.

    A file whose time of change is another but whose hash is the same, as in a copy, is no change.

    Args:
        stored: What `describe_data` has returned.
        data: The datamodule as it is now, indexed.

    Raises:
        CheckpointError: if it has returned something else.
    """
    changes: list[str] = []
    for split in SPLITS:
        before = _stored_split(stored, split)
        ids, files = _contents(data, split)
        changes += _split_changes(split, before, ids, files)
    return changes[:_SHOWN] + (
        [f"and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
    )


def _stored_split(stored: Described, split: Split) -> Described:
    """Return what is stored of a split, checked, for it may have been damaged since."""
    splits = stored.get("splits", {})
    before = splits.get(split) or {} if isinstance(splits, dict) else None
    if not isinstance(before, dict) or not _is_sound(before):
        raise CheckpointError(
            "the record of the run's data is damaged",
            where=f"{DATA_RECORD}: {split}",
            found="other entries than samft writes",
            fix="delete the file; the data is then not compared",
        )
    return before


def _is_sound(before: Described) -> bool:
    listing, parts = before.get("listing", {}), before.get("parts", [""] * _PARTS)
    return not before or (
        all(isinstance(before.get(name), int) for name in ("samples", "files", "bytes"))
        and isinstance(listing, dict)
        and all(map(_is_state, listing.values()))
        and isinstance(parts, list)
        and len(parts) == _PARTS
    )


def _is_state(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 3


def _contents(data: object, split: Split) -> tuple[Described, dict[str, Path]]:
    """Return the number and a digest of the samples of a split, and its files by name."""
    digest, samples = hashlib.sha256(), 0
    files: dict[str, Path] = {}
    for name, paths, root in _samples(data, split):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\n")
        samples += 1
        for path in paths:
            files.setdefault(_relative(path, root), path)
    return {"samples": samples, "ids": digest.hexdigest()}, files


def _samples(data: object, split: Split) -> Iterator[tuple[str, tuple[Path, ...], Path]]:
    """Yield name, files and root of every sample."""
    if isinstance(data, SamDataModule):
        for record in data.records(split):
            yield record.sample_id, (*record.images, *record.labels), data.folder
        if data.recorded_prompts is not None and split == "train":
            path = Path(data.recorded_prompts).expanduser()
            yield "recorded prompts", (path,), path.parent
        if data.generic is not None and split == "train":
            for name, paths, root in _samples(data.generic, split):
                yield f"generic/{name}", paths, root
    elif isinstance(data, ShardedDataModule):
        entries = data.entries(split)
        rows = b"" if entries.rows is None else entries.rows.tobytes()
        for shard, size in zip(entries.shards, entries.sizes, strict=True):
            if size:
                yield f"{shard.path.name} {size}", (shard.path,), entries.root
        yield f"rows {hashlib.sha256(rows).hexdigest()}", (), entries.root


def _relative(path: Path, root: Path) -> str:
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return Path(os.path.relpath(path, root)).as_posix()


def _states(files: dict[str, Path]) -> dict[str, FileState]:
    found = {name: FileState.of(path) for name, path in files.items()}
    return {name: state for name, state in found.items() if state is not None}


def _described(states: dict[str, FileState], files: dict[str, Path], deadline: float) -> Described:
    total = {"files": len(states), "bytes": sum(state.size for state in states.values())}
    if len(states) > _LISTED:
        return total | {"parts": _parts(states)}
    listing: dict[str, list[int | str | None]] = {}
    for name, state in states.items():
        content = _hash(files[name], deadline)
        listing[name] = [state.size, state.modified, content]
    return total | {"listing": listing}


def _hash(path: Path, deadline: float) -> str | None:
    """Return the SHA-256 of a file, or `None` if there is no time left for it."""
    digest = hashlib.sha256()
    try:
        if path.is_dir():
            return None
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                if time.monotonic() > deadline:
                    return None
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def _parts(states: dict[str, FileState]) -> list[str]:
    digests = [hashlib.sha256() for _ in range(_PARTS)]
    for name in sorted(states):
        encoded = name.encode("utf-8", "surrogateescape")
        digests[zlib.crc32(encoded) % _PARTS].update(
            encoded + f"\n{states[name].size} {states[name].modified}\n".encode()
        )
    return [digest.hexdigest()[:16] for digest in digests]


def _split_changes(
    split: Split, before: Described, ids: Described, files: dict[str, Path]
) -> list[str]:
    if not before and not ids["samples"]:
        return []
    states = _states(files)
    if "listing" in before and len(states) <= _LISTED:
        changes = _file_changes(before["listing"], states, files)
    else:
        changes = _part_changes(before, states)
    counts = (before.get("samples", 0), ids["samples"])
    if counts[0] != counts[1]:
        changes.insert(0, f"{counts[0]} samples have become {counts[1]}")
    elif before.get("ids") != ids["ids"] and not changes:
        changes.append("other samples, or the same in another order")
    return [f"{split}: {change}" for change in changes]


def _file_changes(
    before: dict[str, list[Any]],  # Any: JSON
    states: dict[str, FileState],
    files: dict[str, Path],
) -> list[str]:
    gone, new = sorted(before.keys() - states.keys()), sorted(states.keys() - before.keys())
    changes = [_counted(gone, "gone")] if gone else []
    changes += [_counted(new, "new")] if new else []
    for name in sorted(before.keys() & states.keys()):
        size, modified, content = before[name]
        now = states[name]
        if now.size != size:
            changes.append(f"{name} has {now.size} bytes, it had {size}")
        elif now.modified == modified:
            continue
        elif content is None:
            changes.append(f"{name} was written since")
        elif _hash(files[name], float("inf")) != content:
            changes.append(f"{name} has other contents")
    return changes


def _counted(names: list[str], what: str) -> str:
    count = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return f"{count} {what}, such as {names[0]}"


def _part_changes(before: Described, states: dict[str, FileState]) -> list[str]:
    if "parts" not in before:
        return [f"{before.get('files', 0)} files have become {len(states)}"]
    now = _parts(states)
    different = sum(old != new for old, new in zip(before["parts"], now, strict=True))
    if not different:
        return []
    size = sum(state.size for state in states.values())
    counts = f"there were {before['files']} with {before['bytes']} bytes, now {len(states)} with"
    return [f"files differ in {different} of {_PARTS} groups: {counts} {size} bytes"]
