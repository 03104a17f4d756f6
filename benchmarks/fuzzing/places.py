"""Readers whose caches and temporary files lie in the folder of the input."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Read = Callable[[Path], object]


def with_own_places(read: Read) -> Read:
    """Return a reader that writes nothing outside the folder of its input.

    Args:
        read: A reader that keeps caches, unpacks something to read it, or deletes folders.
    """
    # Deleting by descriptors, Python names files without their folder, and the watch sees no more.
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # see above

    def within(path: Path) -> object:
        place = path.parent / ".places"
        place.mkdir(exist_ok=True)
        before = os.environ.get("SAMFT_CACHE")
        tempfile.tempdir, kept = str(place), tempfile.tempdir
        os.environ["SAMFT_CACHE"] = str(place / "cache")
        try:
            return read(path)
        finally:
            tempfile.tempdir = kept
            os.environ.pop("SAMFT_CACHE")
            if before is not None:
                os.environ["SAMFT_CACHE"] = before

    return within


class Later(Mapping[str, bytes]):
    """Files that are made when they are first asked for.

    Args:
        make: Makes all of them.
    """

    def __init__(self, make: Callable[[], Mapping[str, bytes]]) -> None:
        self._make = make
        self._made: Mapping[str, bytes] | None = None

    def _files(self) -> Mapping[str, bytes]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, name: str) -> bytes:
        return self._files()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files())

    def __len__(self) -> int:
        return len(self._files())
