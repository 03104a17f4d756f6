"""What the benchmarks share: one measurement, and the peers that want torchvision."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch

_PARTS = ("", ".ops", ".ops.boxes", ".transforms", ".transforms.functional")
_TORCHVISION = tuple(f"torchvision{part}" for part in _PARTS)


@dataclass(frozen=True)
class Measurement:
    """One process's result.

    Args:
        seconds: Wall time of one pass.
        cpu_seconds: Processor time of the same pass, all threads.
        peak_mb: Peak memory: resident on CPU, allocated on a GPU.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float


def timed(function: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return the wall and processor seconds of one call."""
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    wait(device)
    return time.perf_counter() - wall, time.process_time() - cpu


def wait(device: torch.device) -> None:
    """Let a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mb(device: torch.device) -> float:
    """Return the peak memory of this process so far: resident on CPU, allocated on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux is at least the size of the parent process
        (line,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))
        return int(line) / 2**10
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)


def torchvision_stand_ins(
    *,
    batched_nms: Callable[..., torch.Tensor],
    resize: Callable[..., Any],  # Any: what `to_pil_image` made, resized
    to_pil_image: Callable[..., Any],
) -> dict[str, ModuleType]:
    """Return modules in the place of torchvision's, with all that the official inference takes.

    Args:
        batched_nms: Stands in for `torchvision.ops.boxes.batched_nms`.
        resize: For `torchvision.transforms.functional.resize`.
        to_pil_image: For `torchvision.transforms.functional.to_pil_image`.
    """
    modules = {name: ModuleType(name) for name in _TORCHVISION}
    vars(modules["torchvision.ops.boxes"]).update(batched_nms=batched_nms, box_area=_box_area)
    vars(modules["torchvision.transforms.functional"]).update(
        resize=resize, to_pil_image=to_pil_image
    )
    return modules


def _box_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@contextmanager
def without_torchvision() -> Iterator[None]:
    """Let packages import torchvision that never use it in what is measured."""
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in _TORCHVISION}):
        yield
