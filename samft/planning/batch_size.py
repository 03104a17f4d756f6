"""The largest batch that fits: `data.batch_size: auto`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import torch

from samft.data.split_datamodule import SplitDataModule
from samft.errors import MachineError
from samft.planning.estimate import MemoryEstimate, estimate_memory
from samft.planning.knobs import advice, gigabytes
from samft.planning.machine import free_bytes, resident_bytes
from samft.planning.shapes import fullest_shape
from samft.planning.step import StepShape, Trainable

_log = logging.getLogger(__name__)

LARGEST: Final = 64
_FEWEST_BATCHES = 4  # of an epoch; fewer would make every epoch a handful of updates
_CPU_SHARE, _CUDA_SHARE = 0.8, 0.92  # of what is free; the rest is for what no estimate knows


class _Strategy(Protocol):
    @property
    def root_device(self) -> torch.device: ...

    def broadcast(self, obj: int) -> int: ...


class _Trainer(Protocol):
    """What `lightning.pytorch.Trainer` has, as far as it is needed."""

    @property
    def strategy(self) -> _Strategy: ...

    @property
    def precision(self) -> str: ...

    @property
    def world_size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Choice:
    """A batch size and where it comes from.

    Args:
        size: Images per step and device.
        reason: What limited it.
        estimate: The memory of a step of that size.
    """

    size: int
    reason: str
    estimate: MemoryEstimate


def settle_batch_size(module: Trainable, data: object, trainer: _Trainer) -> None:
    """Replace `batch_size: auto` of a datamodule by the largest that fits; does nothing else.

    Args:
        module: What is trained.
        data: A datamodule; others than samft's are left alone.
        trainer: Knows device and precision, and makes all processes use the same size.

    Raises:
        MachineError: if not even one image fits.
    """
    if not isinstance(data, SplitDataModule) or data.batch_size != "auto":
        return
    device = trainer.strategy.root_device
    shape = fullest_shape(module, data, precision=str(trainer.precision), device_type=device.type)
    count = len(data.dataset("train", augment=True)) // trainer.world_size
    choice = choose_batch_size(module, shape, images=count, budget=budget(device))
    size = int(trainer.strategy.broadcast(choice.size))
    data.choose_batch_size(size)
    _log.info("data.batch_size: auto is %d (%s)", size, choice.reason)


def budget(device: torch.device) -> int:
    """Return the bytes an estimate may come to on `device`."""
    if device.type == "cuda":
        return int(_CUDA_SHARE * free_bytes(device))
    return resident_bytes() + int(_CPU_SHARE * free_bytes(device))


def choose_batch_size(module: Trainable, one: StepShape, *, images: int, budget: int) -> Choice:
    """Return the largest batch of at most 64 images that fits and leaves an epoch a few steps.

    Memory grows by the same amount with each image, so two estimates tell the size and a third
    checks it.

    Args:
        module: The model and its settings.
        one: The step of one image.
        images: Of an epoch, on one device.
        budget: What the estimate may come to, bytes.

    Raises:
        MachineError: if not even one image fits.
    """
    seen: dict[int, MemoryEstimate] = {}

    def needed(size: int) -> int:
        if size not in seen:
            shape = replace(one, images=size, objects=one.objects * size)
            seen[size] = estimate_memory(module, shape)
        estimate = seen[size]
        return estimate.total if one.device_type == "cpu" else estimate.tensors

    if needed(1) > budget:
        raise MachineError(
            "not even one image at a time fits into the memory",
            where="data.batch_size auto",
            found=f"{gigabytes(needed(1))} needed, estimated",
            expected=f"at most {gigabytes(budget)}",
            fix=advice(module, one) or "use a smaller model.arch or model.image_size",
        )
    most = max(1, min(LARGEST, images // _FEWEST_BATCHES))
    size = _largest(needed, budget, most)
    reason = f"{gigabytes(needed(size))} estimated of {gigabytes(budget)}"
    if size == most:
        cap = f"the largest it tries is {LARGEST}"
        if most < LARGEST:
            cap = f"an epoch of {images} images keeps {_FEWEST_BATCHES} steps or more"
        reason = f"{reason}; {cap}"
    return Choice(size, reason, seen[size])


def _largest(needed: Callable[[int], int], budget: int, most: int) -> int:
    """Return the largest size up to `most` that fits; one does."""
    fits, too_many = 1, most + 1
    guess = min(2, most)
    while fits + 1 < too_many:
        if needed(guess) <= budget:
            fits = guess
        else:
            too_many = guess
        slope = (needed(guess) - needed(1)) / max(1, guess - 1) if guess > 1 else 0.0
        expected = 1 + int((budget - needed(1)) / slope) if slope > 0 else most
        guess = min(max(expected, fits + 1), too_many - 1)
    return fits
