"""Where downloaded weights lie, and whether a file is still the one that was verified."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Final

_logger = logging.getLogger(__name__)

# A file that changed this recently can change again without a new time stamp.
_SETTLED_NS: Final = 1_000_000_000
_RECORDS = "sha256.json"


def weights_dir() -> Path:
    """Return the folder for downloaded weights; it need not exist.

    That is `weights` in the folder named by the environment variable `SAMFT_CACHE`, or in the
    platform's folder for caches.
    """
    return _cache_dir() / "weights"


def _cache_dir() -> Path:
    chosen = os.environ.get("SAMFT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "samft/Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/samft"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samft"


def sha256_of(files: list[Path]) -> str:
    """Return the sha256 of one file, or of the list of names and hashes of several.

    A hash is remembered together with size, inode and times of the file, so that a file of
    gigabytes is read once and any later change to it is noticed.

    Args:
        files: Existing files.
    """
    if len(files) == 1:
        return _file_sha256(files[0])
    lines = "".join(f"{_file_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    key, before = str(path.resolve()), _fingerprint(path)
    records = _read_records()
    record = records.get(key)
    if isinstance(record, dict) and record.get("file") == before and "sha256" in record:
        return str(record["sha256"])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    changed_ns = max(before["mtime_ns"], before["ctime_ns"])
    if _fingerprint(path) == before and time.time_ns() - changed_ns > _SETTLED_NS:
        _write_records(records | {key: {"file": before, "sha256": digest}})
    return digest


def _fingerprint(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "ctime_ns": stat.st_ctime_ns,  # unlike mtime, no program can set it back
        "inode": stat.st_ino,
        "device": stat.st_dev,
    }


def _read_records() -> dict[str, object]:
    try:
        records = json.loads((weights_dir() / _RECORDS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return records if isinstance(records, dict) else {}


def _write_records(records: dict[str, object]) -> None:
    path = weights_dir() / _RECORDS
    temporary = path.with_name(f"{_RECORDS}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(records, indent=1))
        temporary.replace(path)
    except OSError as error:  # a read-only home costs time, not the load
        _logger.debug("hash not remembered: %s", error)
