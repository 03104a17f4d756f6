"""Keys, entries and values for stores in tests, each known by its number; and a full disk."""

from __future__ import annotations

import errno
import os

import torch

from samft.embeddings import writer as writing
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


class FullDisk:
    """Takes the place of `os.write`: writes half of what does not fit any more, then fails."""

    def __init__(self, monkeypatch, room):
        self.room, self.write = room, os.write
        monkeypatch.setattr(writing.os, "write", self)

    def __call__(self, descriptor, payload):
        if len(payload) <= self.room:
            self.room -= len(payload)
            return self.write(descriptor, payload)
        part, self.room = self.room, 0
        if part:
            return self.write(descriptor, payload[:part])
        raise OSError(errno.ENOSPC, "No space left on device")
