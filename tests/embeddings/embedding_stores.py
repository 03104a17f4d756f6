"""Keys, entries and values for stores in tests; every value can be computed from its number."""

from __future__ import annotations

import torch

from samft.embeddings.key import EntryKey, StoreKey
from samft.embeddings.store import EmbeddingStore

SHAPE = (4, 5, 3)


def store_key(**changes) -> StoreKey:
    parts = {
        "weights": "0" * 64,
        "model": {"arch": "vit_nano", "image_size": 256, "cut_block": None},
        "preprocessing": {"normalise": True},
        "dtype": "float16",
    }
    return StoreKey(**(parts | changes))


def entry(number: int, variant: int = 0) -> EntryKey:
    return EntryKey.of(number.to_bytes(8, "little"), variant)


def value(number: int, shape=SHAPE, dtype=torch.float16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(shape, generator=generator).to(dtype)


def fill(store: EmbeddingStore, numbers, shape=SHAPE) -> None:
    for number in numbers:
        store.put(entry(number), value(number, shape))


def holds(store: EmbeddingStore, numbers, shape=SHAPE) -> bool:
    """Whether exactly these entries are there, each bit as computed."""
    found = [store.get(entry(number)) for number in numbers]
    right = all(
        tensor is not None and torch.equal(tensor, value(number, shape))
        for number, tensor in zip(numbers, found, strict=True)
    )
    return right and len(store) == len(list(numbers))
