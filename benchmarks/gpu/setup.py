"""What all rows of one file have in common."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import torch

from benchmarks.adapted_steps import distinct_images
from benchmarks.train_step import make_batch
from samft.types import SamBatch

_PACKAGES: Final = ("lightning", "transformers", "peft", "triton")
_ALLOCATOR: Final = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """The size of a step and how it is timed.

    Args:
        size: Side of the images, pixels.
        objects: Of each image.
        device: `cuda` or `cpu`.
        precision: `bf16-mixed` or `32-true`.
        warm_up: Steps that are not timed; 2 or more.
        steps: Steps that are timed, at most.
        seconds: Time after which no further steps are begun.
        threads: Of each process on a CPU; 0 leaves it to PyTorch.
    """

    size: int
    objects: int
    device: str
    precision: str
    warm_up: int
    steps: int
    seconds: float
    threads: int = 0

    @classmethod
    def of(cls, options: Any) -> Setup:  # Any: an argparse.Namespace
        """Return the setup among options."""
        return cls(**{item.name: getattr(options, item.name) for item in fields(cls)})

    @property
    def place(self) -> torch.device:
        """The device."""
        return torch.device(self.device)

    def batch(self, images: int) -> SamBatch:
        """Return a batch of random pixels with discs to be segmented, on the device."""
        (drawn,) = distinct_images(make_batch(images, self.objects, self.size), [0])
        return drawn.to(self.device)

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass in the precision."""
        enabled = self.precision == "bf16-mixed"
        return torch.autocast(self.device, torch.bfloat16, enabled=enabled)

    def facts(self) -> dict[str, Any]:  # Any: plain data
        """Return what decides the numbers: the setup, the machine and the versions."""
        return asdict(self) | {
            "machine": _machine(self.device),
            "torch": torch.__version__,
            "python": platform.python_version(),
            **{name: _version(name) for name in _PACKAGES},
            "allocator": " ".join(os.environ.get(name, "") for name in _ALLOCATOR).strip(),
        }


def _machine(device: str) -> str:
    if device == "cpu":
        return f"{platform.machine()} CPU"
    return torch.cuda.get_device_name()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
