"""The SAM architecture in pure torch: `build_sam`, `Sam`, sizes and weights."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samft.models.config import ARCHITECTURES, SamConfig
    from samft.models.registry import build_sam
    from samft.models.sam import Sam
    from samft.models.weights import load_weights

__all__ = ["ARCHITECTURES", "Sam", "SamConfig", "build_sam", "load_weights"]

_HOME = {
    "ARCHITECTURES": "config",
    "Sam": "sam",
    "SamConfig": "config",
    "build_sam": "registry",
    "load_weights": "weights",
}


def __getattr__(name: str) -> Any:  # Any: one of the exported objects
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
