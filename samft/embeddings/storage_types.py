"""The number types in which activations are stored, and the way into them."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor

from samft.errors import ConfigError, TrainingError

StorageType = Literal["float16", "bfloat16", "float32"]
Overflow = Literal["refuse", "saturate"]

TORCH_TYPES: Final[dict[StorageType, torch.dtype]] = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
}
ROUNDING: Final[dict[StorageType, float]] = {
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    "float32": 2.0**-24,
}
"""Largest relative error of a stored value; half the distance between neighbours of the type.
Below its smallest normal number (6.1e-5 in float16) the error is at most this times that number."""


def to_storage(tensor: Tensor, dtype: StorageType, *, overflow: Overflow) -> tuple[Tensor, int]:
    """Return a contiguous copy on the CPU in the stored type, and how many values were clipped.

    Args:
        tensor: Any shape and device; floating point, finite.
        dtype: The type to store.
        overflow: What becomes of values beyond the range of `dtype`: an error, or its largest
            number of the same sign.

    Raises:
        TrainingError: if a value is infinite or not a number.
        ConfigError: if a value is too large and `overflow` is `refuse`.
    """
    stored = tensor.detach().to("cpu", TORCH_TYPES[dtype]).contiguous()
    if bool(torch.isfinite(stored).all()):
        return stored, 0
    values = tensor.detach().to("cpu", torch.float64)
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise TrainingError(
            "the frozen part of the model gives values that are not finite",
            found=f"{bad} of {values.numel()} values",
            fix="check the weights and the image, or compute in float32",
        )
    clipped = int((~torch.isfinite(stored)).sum())
    if overflow == "refuse":
        raise ConfigError(
            f"the activations do not fit into {dtype}",
            found=f"{clipped} of {values.numel()} values, the largest {values.abs().max():.3g}",
            expected=f"at most {torch.finfo(stored.dtype).max:.3g}",
            fix="store bfloat16 or float32",
        )
    limit = torch.finfo(stored.dtype).max
    return values.clamp(-limit, limit).to(stored.dtype).contiguous(), clipped


def check_storage_type(name: str) -> None:
    """Check that activations can be stored in the type of this name.

    Raises:
        ConfigError: if not.
    """
    if name not in get_args(StorageType):
        raise ConfigError(
            "activations cannot be stored in this type",
            found=repr(name),
            expected=" or ".join(get_args(StorageType)),
        )


def raw_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor, in place if it is contiguous and on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
