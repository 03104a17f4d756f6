"""The largest batch that fits: `data.batch_size: auto`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from samft.data.split_datamodule import SplitDataModule
from samft.errors import MachineError
from samft.models.adaptation.parts import encoder_blocks
from samft.planning.estimate import MemoryEstimate, estimate_memory
from samft.planning.knobs import advice, gigabytes
from samft.planning.machine import free_bytes, resident_bytes
from samft.planning.shapes import fullest_shape
from samft.planning.step import StepShape, Trainable
from samft.sharding import ShardedStrategy

_log = logging.getLogger(__name__)

LARGEST: Final = 64
_FEWEST_BATCHES = 4  # of an epoch; fewer would make every epoch a handful of updates
_COPIES = 4  # of what is trained: weights, gradients, and AdamW's two averages
_CPU_SHARE, _CUDA_SHARE = 0.8, 0.92  # of what is free; the rest is for what no estimate knows


class _Strategy(Protocol):
    @property
    def root_device(self) -> torch.device: ...

    def reduce(self, tensor: Tensor, *, reduce_op: str) -> Tensor: ...


class _Trainer(Protocol):
    """What `lightning.pytorch.Trainer` has, as far as it is needed."""

    @property
    def strategy(self) -> _Strategy: ...

    @property
    def precision(self) -> str: ...

    @property
    def num_devices(self) -> int: ...

    @property
    def num_nodes(self) -> int: ...


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
        trainer: Knows device and precision, and makes all processes use the same size: the least
            of what fits for each.

    Raises:
        MachineError: if not even one image fits, in this process or another.
    """
    if not isinstance(data, SplitDataModule) or data.batch_size != "auto":
        return
    device = trainer.strategy.root_device
    shape = fullest_shape(module, data, precision=str(trainer.precision), device_type=device.type)
    count = len(data.dataset("train", augment=True)) // num_processes(trainer)
    room = budget(device, sharing=trainer.num_devices) + held_elsewhere(module, trainer)
    own, problem, reason = 0, None, ""
    try:
        choice = choose_batch_size(module, shape, images=count, budget=room)
        own, reason = choice.size, choice.reason
    except MachineError as error:  # to be raised once no other process waits for this one
        problem = error
    least = trainer.strategy.reduce(torch.tensor(own, device=device), reduce_op="min")
    size = int(least)
    if size == 0:
        raise problem or MachineError(
            "not even one image at a time fits into the memory of another process",
            where="data.batch_size auto",
            fix="do what the message of that process says",
        )
    data.choose_batch_size(size)
    if size < own:
        reason = f"{own} would fit here, another process has less memory"
    _log.info("data.batch_size: auto is %d (%s)", size, reason)


def num_processes(trainer: _Trainer) -> int:
    """Return in how many processes a trainer trains; also before they have been started."""
    return trainer.num_devices * trainer.num_nodes


def budget(device: torch.device, *, sharing: int = 1) -> int:
    """Return the bytes an estimate may come to on `device`.

    Args:
        device: Where the model is trained.
        sharing: Processes on this machine; on a CPU they divide what is free.
    """
    if device.type == "cuda":
        return int(_CUDA_SHARE * free_bytes(device))
    return resident_bytes() + int(_CPU_SHARE * free_bytes(device) / sharing)


def held_elsewhere(module: Trainable, trainer: _Trainer) -> int:
    """Return the bytes of weights, gradients and optimiser state that other devices hold.

    Nothing where the encoder is not to be sharded. The largest block of a sharded one is whole
    while it runs, with its gradients.
    """
    if not isinstance(trainer.strategy, ShardedStrategy):
        return 0
    size = 2 if str(trainer.precision) in ("bf16-true", "16-true") else 4
    trained = _COPIES * size
    blocks = [_num_bytes(block.module, size, 2 * size) for block in encoder_blocks(module.sam)]
    whole = _num_bytes(module.sam.image_encoder, size, trained)
    share = 1 - 1 / num_processes(trainer)
    return max(0, int(share * whole) - max(blocks, default=0))


def _num_bytes(part: nn.Module, frozen: int, trained: int) -> int:
    """Return the bytes of a part whose parameters take so many each."""
    return sum(
        each.numel() * (trained if each.requires_grad else frozen) for each in part.parameters()
    )


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
