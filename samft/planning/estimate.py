"""How much memory a training step takes, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from samft.planning.allocators import CHeap, CudaCache
from samft.planning.machine import resident_bytes
from samft.planning.replay import Peak, play
from samft.planning.step import (
    BATCH,
    CHECKPOINT,
    DECODER,
    ENCODER,
    GRADIENTS,
    OPTIMIZER,
    WEIGHTS,
    StepShape,
    Trainable,
    rehearse,
)

BASE: Final = "process"
GAPS: Final = "gaps of the allocator"
_ORDER = (WEIGHTS, GRADIENTS, OPTIMIZER, ENCODER, DECODER, BATCH, CHECKPOINT, GAPS, BASE)

_MIB = 2**20
# What the first steps bring into a process on a CPU beside tensors: code of oneDNN's kernels (78 to
# 91 MiB) and what they keep on the heap (46 to 84 MiB), less what was loaded before the estimate
# (36 MiB or more); measured with torch 2.13 on 2026-11-21, four trainings of vit_nano.
_CPU_KERNELS = 110 * _MIB
# CUDA's context and the kernels it loads (outside PyTorch's allocator), and cuBLAS's workspace
# (inside; torch takes 8 MiB and a little, on Hopper 32 MiB).
_CUDA_CONTEXT, _CUDA_WORKSPACE = 600 * _MIB, 32 * _MIB


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The memory of a training step when it is highest, in bytes.

    Args:
        parts: What takes how much; parts that take nothing are left out.
    """

    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Everything: resident memory of the process, or of the GPU with CUDA's context."""
        return sum(self.parts.values())

    @property
    def tensors(self) -> int:
        """All but the process: on a GPU what `torch.cuda.max_memory_reserved` says."""
        return self.total - self.parts.get(BASE, 0)


def estimate_memory(
    module: Trainable, shape: StepShape, *, base: int | None = None
) -> MemoryEstimate:
    """Return the memory of a step of `module`.

    Args:
        module: The model and its settings.
        shape: The size of the step.
        base: Bytes of the process without the model's weights; default: of this process, whose
            model is on the CPU, and for a GPU that of CUDA's context.
    """
    peak = _peak(module, shape)
    if base is None:
        base = _CUDA_CONTEXT if shape.device_type != "cpu" else _process_bytes(module)
    on_cpu = shape.device_type == "cpu"
    parts = {**peak.parts, GAPS: peak.gaps, BASE: base + (_CPU_KERNELS if on_cpu else 0)}
    if not on_cpu:
        parts[GAPS] += _CUDA_WORKSPACE
    return MemoryEstimate({name: parts[name] for name in _ORDER if parts.get(name)})


def _process_bytes(module: Trainable) -> int:
    weights = (*module.sam.parameters(), *module.sam.buffers())
    own = sum(each.untyped_storage().nbytes() for each in weights if each.device.type == "cpu")
    return max(0, resident_bytes() - own)


def _peak(module: Trainable, shape: StepShape) -> Peak:
    allocator = CHeap() if shape.device_type == "cpu" else CudaCache()
    with torch.enable_grad():
        return play(rehearse(module, shape), allocator)
