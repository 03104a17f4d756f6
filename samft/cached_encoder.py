"""A frozen image encoder that computes every image once and reads it from disk from then on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from samft.embeddings.folders import embeddings_dir
from samft.embeddings.key import EntryKey, StoreKey, content_hash, model_parts, weights_hash
from samft.embeddings.storage_types import TORCH_TYPES, StorageType
from samft.embeddings.store import EmbeddingStore
from samft.errors import MachineError
from samft.models.sam import Sam

_log = logging.getLogger(__name__)

_MEASURED_READS = 16


class CachedEncoder:
    """Answers with stored embeddings where it can, and stores what it has to compute.

    An embedding is found by the very pixels that enter the encoder, after augmentation, by where
    they end and the padding begins, and by the encoder's weights: nothing stale can be used. What
    is computed is rounded as the store rounds, so that it does not matter which of the two came.
    When reading turns out slower than computing, it computes; when the disk is full, it goes on
    without storing.

    Args:
        sam: The model; its image encoder must not change any more.
        dtype: Type of the stored values. Relative rounding error: 2^-11 for float16, 2^-8 for
            bfloat16, none for float32.
        root: Folder of all stores; default beside the downloaded weights.
        timer: A clock, in seconds.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        dtype: StorageType = "float16",
        root: Path | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.sam = sam
        self.dtype = dtype
        self.root = root or embeddings_dir()
        self.computed = self.read = 0
        self._timer = timer
        self._store: EmbeddingStore | None = None
        self._compute_seconds = self._read_seconds = 0.0
        self._reads = True

    @torch.no_grad()
    def __call__(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        """Return the embeddings (B, D, h, w) of images (B, 3, S, S); see `Sam.encode_image`."""
        store = self._opened(images)
        entries = [
            EntryKey(content_hash(content_hash(image) + bytes(str(size), "ascii")))
            for image, size in zip(images.cpu(), input_sizes.tolist(), strict=True)
        ]
        found = self._stored(store, entries, images.device)
        rows = [index for index, embedding in enumerate(found) if embedding is None]
        if rows:
            fresh = self._computed(images[rows], input_sizes[rows])
            for row, embedding in zip(rows, fresh, strict=True):
                self._keep(entries[row], embedding)
                found[row] = embedding.float()
        return torch.stack([embedding for embedding in found if embedding is not None])

    def close(self) -> None:
        """Write what is not on disk yet, and say what the cache was good for."""
        if self._store is None:
            return
        try:
            self._store.close()
        except MachineError as error:
            _log.warning("embeddings: the last ones could not be stored: %s", error)
        _log.info(
            "embeddings: %d read, %d computed, in %s", self.read, self.computed, self._store.folder
        )
        self._store = None

    def _opened(self, images: Tensor) -> EmbeddingStore:
        if self._store is None:
            encoder = self.sam.image_encoder
            tensors = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
            tensors |= {"pixel_mean": self.sam.pixel_mean, "pixel_std": self.sam.pixel_std}
            kind = images.device.type
            compute = self.sam.pixel_mean.dtype
            if torch.is_autocast_enabled(kind):
                compute = torch.get_autocast_dtype(kind)
            key = StoreKey(
                weights=weights_hash(tensors),
                model=model_parts(self.sam.config, dtype=compute),
                preprocessing={"input": "pixels as the encoder gets them, and where they end"},
                dtype=self.dtype,
            )
            self._store = EmbeddingStore.open(self.root, key, mode="write")
        return self._store

    def _stored(
        self, store: EmbeddingStore, entries: list[EntryKey], device: torch.device
    ) -> list[Tensor | None]:
        if not self._reads:
            return [None] * len(entries)
        if store.missing(entries):
            store.refresh()  # another process may have computed them meanwhile
        start = self._timer()
        found = [store.get(entry, dtype=torch.float32) for entry in entries]
        # A copy: a view would keep a file open, and be read only when it is used.
        ready = [None if item is None else item.clone() for item in found]
        count = sum(item is not None for item in ready)
        self._read_seconds += self._timer() - start if count else 0.0
        self.read += count
        self._compare_speed()
        return [None if item is None else item.to(device) for item in ready]

    def _computed(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        start = self._now(images)
        embeddings = self.sam.encode_image(images, input_sizes)
        self._compute_seconds += self._now(images) - start
        self.computed += len(images)
        return embeddings.to(TORCH_TYPES[self.dtype])

    def _keep(self, entry: EntryKey, embedding: Tensor) -> None:
        store = self._store
        if store is None or store.mode != "write":
            return
        try:
            store.put(entry, embedding)
        except MachineError as error:
            _log.warning("embeddings: going on without storing more: %s", error)
            self._store = EmbeddingStore.open(self.root, store.key, mode="read")

    def _compare_speed(self) -> None:
        """Stop reading once it has shown to be slower than computing."""
        if self.read < _MEASURED_READS or not self.computed:
            return
        reading, computing = self._read_seconds / self.read, self._compute_seconds / self.computed
        if reading > computing:
            self._reads = False
            _log.warning(
                "embeddings: reading one takes %.1f ms, computing %.1f ms; computing from now on",
                1000 * reading,
                1000 * computing,
            )

    def _now(self, images: Tensor) -> float:
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        return self._timer()
