"""A first look at a folder: what is in it, by name, and the beginning of files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self

from samft.data.roots import stays_inside

_MOST_NAMES = 50_000
_WHOLE = 64 * 2**20  # bytes; larger JSON files are not parsed just to look at them


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The names below a folder; hidden files and links that lead out are left out.

    A folder whose name ends in `.zarr` is one image, not a folder of files.

    Args:
        root: The absolute folder.
        names: Relative names with forward slashes, sorted; the first 50,000 of a larger folder.
    """

    root: Path
    names: tuple[str, ...]
    _parsed: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, root: Path) -> Self:
        """Look into a folder."""
        names: list[str] = []
        for name in _walk(root):
            names.append(name)
            if len(names) == _MOST_NAMES:
                break
        return cls(root=root, names=tuple(sorted(names)))

    def ending(self, *suffixes: str) -> tuple[str, ...]:
        """Return the names with one of these endings, given in lower case."""
        return tuple(name for name in self.names if name.lower().endswith(suffixes))

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Return the names that a shell pattern matches as a whole; `*` also crosses folders."""
        return tuple(name for name in self.names if fnmatch(name, pattern))

    def head(self, name: str, count: int = 4096) -> bytes:
        """Return the first bytes of a file; none if it cannot be read."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(count)
        except OSError:
            return b""

    def parsed(self, name: str) -> Any:  # Any: JSON
        """Return what a JSON file holds; `None` if it is none, or too large for a first look."""
        if name not in self._parsed:
            self._parsed[name] = self._parse(name)
        return self._parsed[name]

    def _parse(self, name: str) -> Any:  # Any: JSON
        path = self.root / name
        try:
            if path.stat().st_size > _WHOLE:
                return None
            return json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        arrays = [name for name in folders if name.lower().endswith(".zarr")]
        folders[:] = sorted(n for n in folders if n not in arrays and not n.startswith("."))
        for name in sorted([*names, *arrays]):
            path = Path(folder, name)
            if not name.startswith(".") and (not path.is_symlink() or stays_inside(root, path)):
                yield path.relative_to(root).as_posix()
