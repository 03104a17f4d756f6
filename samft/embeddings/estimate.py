"""How much a store will take, and whether the disk has it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Final

from samft.embeddings.index import RECORD_BYTES
from samft.embeddings.shard import aligned
from samft.embeddings.storage_types import TORCH_TYPES, StorageType
from samft.errors import MachineError

KEEP_FREE: Final = 2**30
"""What training should find free beside a store, bytes: checkpoints and pictures need room too."""


def estimate(num_images: int, variants: int, shape: Sequence[int], dtype: StorageType) -> int:
    """Return the bytes on disk of a store, but for a few kilobytes per 256 MiB.

    Args:
        num_images: Images of the data set.
        variants: K, augmented variants of each image.
        shape: Shape of one entry, such as (D, h, w).
        dtype: Type of the stored values.
    """
    payload = aligned(prod(shape) * TORCH_TYPES[dtype].itemsize)
    return num_images * variants * (payload + RECORD_BYTES)


def check_room(path: Path, num_bytes: int, *, keep_free: int = KEEP_FREE) -> None:
    """Check that a folder's disk has room, before anything is written.

    Args:
        path: The folder; it need not exist.
        num_bytes: What is to be written.
        keep_free: What shall be left.

    Raises:
        MachineError: if there is less.
    """
    place = path.expanduser().absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < num_bytes + keep_free:
        raise MachineError(
            "there is not enough disk space for the cached embeddings",
            where=path,
            found=f"{free / 1e9:.2f} GB free",
            expected=f"{num_bytes / 1e9:.2f} GB, and {keep_free / 1e9:.2f} GB left for training",
            fix="choose another folder, a smaller type or fewer variants, or train without cache",
        )
