"""`store.json`: tells people and programs what a store's folder holds."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from samft.embeddings.key import FORMAT, StoreKey
from samft.embeddings.storage_types import TORCH_TYPES, StorageType
from samft.errors import OutputError

MANIFEST: Final = "store.json"
_MAX_BYTES: Final = 2**20
_DIGEST_BYTES: Final = 32  # of sha256
_WHY: Final = "training need not run this part of the model again; may be deleted at any time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a store says about itself.

    Args:
        what: What the entries are, in words.
        digest: The whole digest of the key; the folder's name begins it.
        dtype: Type of the stored values.
        parts: The parts of the key.
        created: When the store was begun.
    """

    what: str
    digest: str
    dtype: StorageType
    parts: dict[str, Any]  # Any: plain data
    created: datetime

    @classmethod
    def of(cls, key: StoreKey) -> Self:
        """Return the manifest of a store that is begun now."""
        cut = key.model.get("cut_block")
        return cls(
            what="image embeddings" if cut is None else f"activations before block {cut}",
            digest=key.digest,
            dtype=key.dtype,
            parts=key.parts(),
            created=datetime.now(UTC),
        )

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the manifest of a store's folder; `None` if it is not one of this format."""
        try:
            with (folder / MANIFEST).open("rb") as file:
                found = json.loads(file.read(_MAX_BYTES))
            manifest = cls(
                what=str(found["what"]),
                digest=str(found["digest"]),
                dtype=found["key"]["dtype"],
                parts=found["key"],
                created=datetime.fromisoformat(found["created"]),
            )
            known = manifest.parts["format"] == FORMAT and manifest.dtype in TORCH_TYPES
            whole = len(bytes.fromhex(manifest.digest)) == _DIGEST_BYTES
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        belongs = manifest.digest.startswith(folder.name) and manifest.created.tzinfo is not None
        return manifest if known and whole and belongs else None

    def write(self, folder: Path) -> None:
        """Write it such that it is never there in part.

        Raises:
            OSError: if that fails.
        """
        content = {
            "what": self.what,
            "why": _WHY,
            "digest": self.digest,
            "created": self.created.isoformat(timespec="seconds"),
            "key": self.parts,
        }
        temporary = folder / f"{MANIFEST}.{os.getpid()}-{uuid.uuid4().hex[:12]}"
        try:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            temporary.replace(folder / MANIFEST)
        finally:
            temporary.unlink(missing_ok=True)


def prepare_folder(folder: Path, key: StoreKey) -> None:
    """Make a store's folder with its manifest, unless it is there.

    Raises:
        OutputError: if the folder holds something else.
        OSError: if it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MANIFEST).exists():
        Manifest.of(key).write(folder)
    check_folder(folder, key)


def check_folder(folder: Path, key: StoreKey) -> None:
    """Check that a folder holds the store of `key`, or none at all.

    Raises:
        OutputError: if the folder holds something else.
    """
    if not (folder / MANIFEST).exists():
        return
    found = Manifest.read(folder)
    if found is None or found.digest != key.digest:
        raise OutputError(
            "the folder for cached embeddings holds something else",
            where=folder,
            found=f"a {MANIFEST} that does not fit" if found is None else found.digest,
            expected=key.digest,
            fix="delete that folder, or choose another place for the cache",
        )
