"""An image encoder whose frozen part computes every image once and keeps the result on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from samft.data.split_datamodule import SplitDataModule
from samft.embeddings.estimate import check_room, estimate
from samft.embeddings.folders import embeddings_dir
from samft.embeddings.key import EntryKey, StoreKey, content_hash, model_parts, weights_hash
from samft.embeddings.storage_types import TORCH_TYPES, StorageType
from samft.embeddings.store import EmbeddingStore
from samft.errors import MachineError
from samft.models.adaptation.cut import EncoderCut
from samft.models.sam import Sam

_log = logging.getLogger(__name__)

_MEASURED_READS = 16

OnError = Literal["compute", "raise"]


class CachedEncoder:
    """Stores what the frozen part of the image encoder gives of every image, and reads it again.

    The frozen part is the whole encoder, or what lies below the first block that is trained; the
    rest runs every time, with gradients. An entry is found by the very pixels that enter the
    encoder, after augmentation, by where they end and the padding begins, and by the weights of the
    frozen part: nothing stale can be used. What is computed is rounded as the store rounds, and
    image by image, so that it does not matter whether it was read, or beside which others it came.
    When reading turns out slower than computing, it computes.

    Args:
        sam: The model; nothing below the cut may change any more.
        stop: The block that the frozen part ends before, see `EncoderCut`; `None` if the whole
            encoder is frozen.
        dtype: Type of the stored values. Relative rounding error: 2^-11 for float16, 2^-8 for
            bfloat16, none for float32.
        root: Folder of all stores; default beside the downloaded weights.
        on_error: When something cannot be stored or read, such as on a full disk, say so once and
            `compute` from then on, or `raise`.
        timer: A clock, in seconds.

    Attributes:
        expected: Number of entries that the store will have in the end, as far as known; if the
            disk has no room for them, none is written.
        computed: Images that were computed.
        read: Images that were read.
    """

    def __init__(
        self,
        sam: Sam,
        *,
        stop: int | None = None,
        dtype: StorageType = "float16",
        root: Path | None = None,
        on_error: OnError = "compute",
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.sam = sam
        self.cut = EncoderCut(sam=sam, stop=stop)
        self.dtype = dtype
        self.root = root or embeddings_dir()
        self.on_error: OnError = on_error
        self.expected: int | None = None
        self.computed = self.read = 0
        self._timer = timer
        self._store: EmbeddingStore | None = None
        self._compute_seconds = self._read_seconds = 0.0
        self._timed = 0
        self._reads = self._opens = True

    def __call__(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        """Return the embeddings (B, D, h, w) of images (B, C, S, S); see `Sam.encode_image`.

        Raises:
            MachineError: if `on_error` says so, and something cannot be stored or read.
        """
        return self.cut.upper(self.activations(images, input_sizes))

    def expect(self, data: object) -> None:
        """Set `expected` to what training on a datamodule will store, if that can be told."""
        self.expected = data.num_inputs() if isinstance(data, SplitDataModule) else None

    @torch.no_grad()
    def activations(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        """Return what the frozen part gives of images, (B, *cut.shape); see `__call__`."""
        store = self._opened(images.device)
        entries = _entries(images, input_sizes)
        found = self._stored(store, entries, images, input_sizes)
        for row, entry in enumerate(entries):
            if found[row] is None:
                self.computed += 1
                fresh = self._compute(images[row : row + 1], input_sizes[row : row + 1])
                self._keep(entry, fresh)
                found[row] = fresh.to(self.sam.pixel_mean.dtype)
        return torch.stack([activations for activations in found if activations is not None])

    @torch.no_grad()
    def fill(self, images: Tensor, input_sizes: Tensor) -> None:
        """Store what is missing or damaged of a batch; see `__call__`."""
        store = self._opened(images.device)
        for row, entry in enumerate(_entries(images, input_sizes)):
            if store is not None and store.get(entry) is not None:
                self.read += 1
                continue
            self.computed += 1
            self._keep(entry, self._compute(images[row : row + 1], input_sizes[row : row + 1]))

    def close(self) -> None:
        """Write what is not on disk yet, and say what the cache was good for."""
        self._opens = True
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

    def _opened(self, device: torch.device) -> EmbeddingStore | None:
        """Return the store; opened at first use, when weights and autocast are what they will be.

        `None` if that failed.
        """
        if self._store is None and self._opens:
            key = self._key(device.type)
            try:
                self._store = EmbeddingStore.open(self.root, key, mode="write")
                self._check_room(self._store)
            except MachineError as error:
                self._stop_storing(error)
                self._store = self._store or self._opened_for_reading(key)
        return self._store

    def _opened_for_reading(self, key: StoreKey) -> EmbeddingStore | None:
        try:
            return EmbeddingStore.open(self.root, key, mode="read")
        except MachineError:  # the user knows already
            self._opens = False
            return None

    def _key(self, device_type: str) -> StoreKey:
        compute = self.sam.pixel_mean.dtype
        if torch.is_autocast_enabled(device_type):
            compute = torch.get_autocast_dtype(device_type)
        return StoreKey(
            weights=weights_hash(self.cut.tensors()),
            model=model_parts(self.sam.config, cut_block=self.cut.stop, dtype=compute),
            preprocessing={"input": "pixels as the encoder gets them, and where they end"},
            dtype=self.dtype,
        )

    def _check_room(self, store: EmbeddingStore) -> None:
        missing = (self.expected or 0) - len(store)
        if missing > 0:
            check_room(self.root, estimate(missing, 1, self.cut.shape, self.dtype))

    def _stored(
        self,
        store: EmbeddingStore | None,
        entries: list[EntryKey],
        images: Tensor,
        input_sizes: Tensor,
    ) -> list[Tensor | None]:
        found: list[Tensor | None] = [None] * len(entries)
        if store is None or not self._reads:
            return found
        start = self._timer()
        try:
            if any(entry not in store for entry in entries):
                store.refresh()  # another process may have computed them meanwhile
            for row, entry in enumerate(entries):
                stored = store.get(entry)
                if stored is not None:
                    # A copy: a view would keep a file open, and be read only when it is used.
                    dtype = self.sam.pixel_mean.dtype
                    found[row] = stored.to(images.device, dtype, copy=True)
        except MachineError as error:
            self._stop_reading(error)
        count = sum(item is not None for item in found)
        self._read_seconds += self._timer() - start if count else 0.0
        self.read += count
        self._compare_speed(images, input_sizes)
        return found

    def _compute(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        """Return what the frozen part gives of one image, (1, C, S, S), in the stored type."""
        start = self._now(images)
        activations = self.cut.lower(images, input_sizes)
        self._compute_seconds += self._now(images) - start
        self._timed += 1
        return activations[0].to(TORCH_TYPES[self.dtype])

    def _keep(self, entry: EntryKey, activations: Tensor) -> None:
        store = self._store
        if store is None or store.mode != "write" or entry in store:
            return
        try:
            check_room(self.root, activations.nbytes)  # other programs fill disks too
            store.put(entry, activations)
        except MachineError as error:
            self._stop_storing(error)

    def _stop_storing(self, error: MachineError) -> None:
        if self._store is not None:
            with suppress(MachineError):  # the first error says enough
                self._store.close()  # it goes on for reading
        if self.on_error == "raise":
            raise error
        _log.warning("embeddings: going on without storing more: %s", error)

    def _stop_reading(self, error: MachineError) -> None:
        if self.on_error == "raise":
            raise error
        self._reads = False
        _log.warning("embeddings: computing from now on: %s", error)

    def _compare_speed(self, images: Tensor, input_sizes: Tensor) -> None:
        """Stop reading once it has shown to be slower than computing."""
        if self.read < _MEASURED_READS or not self._reads:
            return
        if not self._timed:  # everything was there
            self.cut.lower(images[:1], input_sizes[:1])  # the first time is no measure
            self._compute(images[:1], input_sizes[:1])
        reading, computing = self._read_seconds / self.read, self._compute_seconds / self._timed
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


def _entries(images: Tensor, input_sizes: Tensor) -> list[EntryKey]:
    return [
        EntryKey(content_hash(content_hash(image) + bytes(str(size), "ascii")))
        for image, size in zip(images.cpu(), input_sizes.tolist(), strict=True)
    ]
