"""Inputs kept between runs: a folder while fuzzing, one archive per target in the tests."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

KEPT: Final = Path(__file__).parents[2] / "tests" / "security" / "corpus"
"""Where the tests find the corpora."""

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


def name_of(data: bytes) -> str:
    """Return what an input is called: the start of its SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def read_kept(target: str, folder: Path = KEPT) -> Iterator[tuple[str, bytes]]:
    """Yield the inputs that are kept for a target, with their names.

    Args:
        target: Name of the target.
        folder: Where the archives are.
    """
    path = folder / f"{target}.zip"
    if not path.is_file():
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            yield entry.filename, archive.read(entry)


def keep(target: str, inputs: Iterator[bytes] | list[bytes], folder: Path = KEPT) -> int:
    """Write the inputs of a target into its archive, the same bytes for the same inputs.

    Args:
        target: Name of the target.
        inputs: All of them; what was kept before is replaced.
        folder: Where the archives are.

    Returns:
        How many there are.
    """
    named = {name_of(data): data for data in inputs}
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{target}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(named.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return len(named)
