"""Devices, their memory, threads and what number formats are worth on them."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from samft.diagnosis.machine import GIGABYTE, allowed_cores
from samft.diagnosis.rows import Row, Status
from samft.diagnosis.switches import nvidia_driver
from samft.planning.machine import free_bytes

_LITTLE_MEMORY: Final = 4.0  # GB; ViT-B frozen at 1024 pixels takes about 3
_FORMATS: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SIDES: Final = {"cpu": 384, "mps": 1024, "cuda": 2048}
_BUDGET_S: Final = 0.15
# Of the largest value; rounding a product of normal numbers to eight bits costs less.
_TOLERANCE: Final = 0.02


def training_device() -> torch.device:
    """Return the device that Lightning would choose for `accelerator: auto`."""
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def look_at_devices() -> Iterator[Row]:
    """List the devices with their memory."""
    free = free_bytes(torch.device("cpu")) / GIGABYTE
    enough = free >= _LITTLE_MEMORY
    yield Row(
        group="devices",
        name="memory",
        status="ok" if enough else "warn",
        found=f"{free:.1f} GB free for this process",
        expected="" if enough else f"{_LITTLE_MEMORY:g} GB for ViT-B at 1024 pixels",
        advice="" if enough else "close other programs, or train vit_t or a smaller image_size",
    )
    yield from _cuda_rows()
    if torch.backends.mps.is_available():
        yield Row(group="devices", name="gpu", status="ok", found=f"MPS, {platform.machine()}")
    elif not torch.cuda.is_available():
        yield Row(
            group="devices",
            name="gpu",
            status="ok",
            found="none that torch can use: training runs on the CPU",
            advice="use vit_t or vit_nano, a frozen encoder and cached embeddings",
        )


def _cuda_rows() -> Iterator[Row]:
    driver = nvidia_driver()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if driver and not usable:
        built = torch.version.cuda
        reason = str(caught[0].message).splitlines()[0][:160] if caught else "torch sees no GPU"
        yield Row(
            group="devices",
            name="nvidia driver",
            status="warn",
            found=f"{driver}; {'torch is built for the CPU' if built is None else reason}",
            expected="a GPU that torch can use",
            advice="install torch for CUDA: https://pytorch.org/get-started/locally"
            if built is None
            else f"update the driver for CUDA {built}, or check --gpus and CUDA_VISIBLE_DEVICES",
        )
    elif driver:
        found = f"{driver}; torch is built for CUDA {torch.version.cuda}"
        yield Row(group="devices", name="nvidia driver", status="ok", found=found)
    for index in range(torch.cuda.device_count() if usable else 0):
        about = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        busy = free < 0.5 * total
        yield Row(
            group="devices",
            name=f"gpu {index}",
            status="warn" if busy else "ok",
            found=f"{about.name}, {free / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free, "
            f"compute capability {about.major}.{about.minor}",
            expected="most of its memory free" if busy else "",
            advice="another process uses it: nvidia-smi shows which" if busy else "",
        )


def look_at_threads() -> Iterator[Row]:
    """Compare the threads torch uses with the cores this process may use."""
    threads, cores = torch.get_num_threads(), allowed_cores()
    too_many = threads > max(1.0, cores)
    yield Row(
        group="devices",
        name="torch threads",
        status="warn" if too_many else "ok",
        found=f"{threads} for {cores:g} cores",
        expected=f"at most {max(1, int(cores))}" if too_many else "",
        advice=f"export OMP_NUM_THREADS={max(1, int(cores))}" if too_many else "",
    )


def look_at_precision(device: torch.device | None = None) -> Iterator[Row]:
    """Multiply matrices in each number format, and compare values and time with 32 bits.

    Args:
        device: Where; default that of training.
    """
    place = device or training_device()
    side = _SIDES.get(place.type, 512)
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator).to(place) for _ in range(2))
    reference, plain_s = _timed(left, right)
    for name, dtype in _FORMATS.items():
        yield _format_row(name, dtype, left=left, right=right, reference=reference, plain_s=plain_s)


def _format_row(
    name: str, dtype: torch.dtype, *, left: Tensor, right: Tensor, reference: Tensor, plain_s: float
) -> Row:
    label = f"{name} on {left.device.type}"
    advice = "train with --trainer.precision 32-true"
    try:
        product, seconds = _timed(left.to(dtype), right.to(dtype))
    except RuntimeError as error:
        found = str(error).splitlines()[0][:120]
        return Row(
            group="devices", name=label, status="warn", found=f"not there: {found}", advice=advice
        )
    off = float((product.float() - reference).abs().max() / reference.abs().max())
    speed = plain_s / seconds
    right_values = off <= _TOLERANCE  # also False of NaN
    # Half precision on a CPU is slow everywhere, and nothing trains in it there.
    harmless = speed >= 1 or (name == "fp16" and left.device.type == "cpu")
    status: Status = "ok" if right_values and harmless else "warn"
    expected = "" if harmless else "at least as fast as 32 bits"
    if not right_values:
        status, expected = "error", f"a difference of at most {_TOLERANCE:g}"
        advice = "update the driver and torch; the device computes wrong numbers"
    return Row(
        group="devices",
        name=label,
        status=status,
        found=f"{speed:.2f} times the speed of 32 bits, largest difference {off:.4f}"
        + ("" if speed >= 1 else ": slower"),
        expected=expected,
        advice="" if status == "ok" else advice,
    )


def _timed(left: Tensor, right: Tensor) -> tuple[Tensor, float]:
    """Return the product and the shortest time it took, seconds."""
    product = left @ right  # the first one also loads what it needs
    _wait(left.device)
    shortest, end = float("inf"), time.perf_counter() + _BUDGET_S
    while time.perf_counter() < end or shortest == float("inf"):
        start = time.perf_counter()
        product = left @ right
        _wait(left.device)
        shortest = min(shortest, time.perf_counter() - start)
    return product, shortest


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
