"""What was found in files that have not changed since, so that a second check is quick."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from samft.data.checking.facts import Facts
from samft.models.cache import weights_dir

_log = logging.getLogger(__name__)

# A file that changed this recently can change again without a new time stamp.
_SETTLED_NS: Final = 2_000_000_000
_TABLE = (
    "CREATE TABLE IF NOT EXISTS facts (record TEXT PRIMARY KEY, state TEXT NOT NULL, "
    "facts TEXT NOT NULL)"
)


def checks_dir() -> Path:
    """Return the folder of remembered checks; it need not exist.

    That is `checks` in the folder named by the environment variable `SAMFT_CACHE`, or in the
    platform's folder for caches.
    """
    return weights_dir().parent / "checks"


class FactsCache:
    """Facts by record, valid as long as every file and setting is the same.

    One SQLite file for each data root. Without a place to write, nothing is remembered.

    Args:
        path: The database; `None` remembers nothing.
        settings: A hash of all settings and of what the checks look for.
    """

    def __init__(self, path: Path | None, settings: str) -> None:
        self.settings = settings
        self._states: dict[Path, str | None] = {}
        self._connection = None if path is None else _connect(path)

    @classmethod
    def of_root(cls, root: Path, settings: str) -> Self:
        """Open the cache of a data root."""
        name = hashlib.blake2b(os.fsencode(root), digest_size=12).hexdigest()
        return cls(checks_dir() / f"{name}.sqlite", settings)

    def state(self, files: Iterable[Path]) -> str | None:
        """Return what tells these files from all later versions; `None` if they are too fresh."""
        parts = [self._state_of(path) for path in files]
        if any(part is None for part in parts):
            return None
        text = "\n".join([self.settings, *(str(part) for part in parts)])
        return hashlib.blake2b(os.fsencode(text), digest_size=16).hexdigest()

    def get(self, record: str, state: str | None) -> Facts | None:
        """Return what is remembered of a record, if it is still true."""
        if self._connection is None or state is None:
            return None
        try:
            row = self._connection.execute(
                "SELECT facts FROM facts WHERE record = ? AND state = ?", (record, state)
            ).fetchone()
            return None if row is None else Facts.from_dict(json.loads(row[0]))
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            _log.debug("not remembered: %s", error)
            return None

    def put(self, record: str, state: str | None, facts: Facts) -> None:
        """Remember a record."""
        if self._connection is None or state is None:
            return
        try:
            self._connection.execute(
                "INSERT OR REPLACE INTO facts VALUES (?, ?, ?)",
                (record, state, json.dumps(facts.to_dict())),
            )
        except (sqlite3.Error, ValueError) as error:  # costs time later, not the check
            _log.debug("not remembered: %s", error)

    def close(self) -> None:
        """Write what was remembered to the disk."""
        if self._connection is None:
            return
        try:
            self._connection.commit()
            self._connection.close()
        except sqlite3.Error as error:
            _log.debug("not remembered: %s", error)
        self._connection = None

    def _state_of(self, path: Path) -> str | None:
        # The label file of a whole data set is asked for with every record.
        if path not in self._states:
            if len(self._states) > 10_000:
                self._states.clear()
            self._states[path] = _fingerprint(path)
        return self._states[path]


def _fingerprint(path: Path) -> str | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    newest = max(stat.st_mtime_ns, stat.st_ctime_ns)
    if path.is_dir():  # a store of many files, such as .zarr
        inner = [entry.stat() for entry in _below(path)]
        newest = max([newest, *(max(s.st_mtime_ns, s.st_ctime_ns) for s in inner)])
        sizes = hashlib.blake2b(
            str([(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in inner]).encode(), digest_size=16
        ).hexdigest()
    else:
        sizes = str(stat.st_size)
    if time.time_ns() - newest < _SETTLED_NS:
        return None
    return f"{path}|{sizes}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}"


def _below(folder: Path) -> list[Path]:
    return [Path(place, name) for place, _, names in os.walk(folder) for name in sorted(names)]


def _connect(path: Path) -> sqlite3.Connection | None:
    for attempt in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=5)
            connection.execute(_TABLE)
            return connection
        except sqlite3.DatabaseError as error:
            _log.debug("the cache %s is damaged: %s", path, error)
            if attempt == 0 and not isinstance(error, sqlite3.OperationalError):
                path.unlink(missing_ok=True)
        except OSError as error:
            _log.debug("no cache: %s", error)
            return None
    return None
