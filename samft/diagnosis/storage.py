"""What is cached: weights, which are hashed again, and embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from samft.diagnosis.machine import GIGABYTE
from samft.diagnosis.rows import Row
from samft.embeddings.folders import embeddings_dir, info
from samft.models.cache import weights_dir
from samft.models.weights import WEIGHTS, WeightsEntry

_LONG_UNUSED: Final = timedelta(days=90)
_LEFTOVERS: Final = (".part", ".tmp")


def look_at_weights() -> Iterator[Row]:
    """Hash every named file that is here, and compare it with the published sha256.

    What was remembered of an earlier hash does not count.
    """
    absent = []
    for entry in WEIGHTS.values():
        if entry.path.is_file():
            yield _hashed(entry)
        elif entry.url is None:
            yield Row(
                group="storage",
                name=f"weights {entry.name}",
                status="error",
                found="missing, though they come with samft",
                expected=str(entry.path),
                advice="install samft again",
            )
        else:
            absent.append(entry.name)
    if absent:
        yield Row(
            group="storage",
            name="weights not here",
            status="ok",
            found=f"{', '.join(absent)}: downloaded when first used",
        )
    yield from _leftovers(weights_dir())


def look_at_embeddings() -> Iterator[Row]:
    """Add up the stored embeddings, and name those that nothing used for long."""
    stores = info(embeddings_dir())
    size = sum(store.num_bytes for store in stores) / GIGABYTE
    now = datetime.now(UTC)
    old = [store for store in stores if now - store.used > _LONG_UNUSED]
    old_size = sum(store.num_bytes for store in old) / GIGABYTE
    days = _LONG_UNUSED.days
    yield Row(
        group="storage",
        name="cached embeddings",
        status="warn" if old else "ok",
        found=f"{len(stores)} stores, {size:.2f} GB"
        + (f"; {len(old)} of them, {old_size:.2f} GB, not used for {days} days" if old else ""),
        expected=f"only what was used in {days} days" if old else "",
        advice=f"samft cache clear --older_than {days}" if old else "",
    )


def _hashed(entry: WeightsEntry) -> Row:
    with entry.path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    same = found == entry.sha256
    size = entry.path.stat().st_size / 1e6
    return Row(
        group="storage",
        name=f"weights {entry.name}",
        status="ok" if same else "error",
        found=f"{size:.0f} MB, the published file" if same else f"sha256 {found}",
        expected="" if same else f"sha256 {entry.sha256}",
        advice=""
        if same
        else "install samft again"
        if entry.url is None
        else f"delete {entry.path} to download it again",
    )


def _leftovers(folder: Path) -> Iterator[Row]:
    """Name what broken-off downloads left; the next download goes on from a `.part`."""
    if not folder.is_dir():
        return
    found = [path for path in sorted(folder.iterdir()) if path.suffix in _LEFTOVERS]
    if found:
        size = sum(path.stat().st_size for path in found) / GIGABYTE
        yield Row(
            group="storage",
            name="unfinished downloads",
            status="warn",
            found=f"{', '.join(path.name for path in found)}, {size:.2f} GB",
            expected="none",
            advice=f"use the weights again to finish, or delete them from {folder}",
        )
