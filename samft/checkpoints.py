"""Opening a training checkpoint without running anything that is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samft.errors import CheckpointError
from samft.models.torch_file import read_torch_file
from samft.module import SamModule


def read_checkpoint(path: Path) -> dict[str, Any]:  # Any: Lightning's layout is untyped
    """Read a Lightning checkpoint as plain data and tensors.

    Raises:
        CheckpointError: if it is unreadable, carries code, or is not a training checkpoint.
    """
    found = read_torch_file(path)
    if not isinstance(found, dict) or "state_dict" not in found or "hyper_parameters" not in found:
        raise CheckpointError(
            "this is not a training checkpoint of samft",
            where=path,
            expected="a .ckpt file written by samft fit",
            fix="to start from plain SAM weights, use --model.weights instead",
        )
    return found


def load_module(path: Path) -> SamModule:
    """Return the module a checkpoint holds, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: if it cannot be read or does not fit this version of samft.
    """
    checkpoint = read_checkpoint(path)
    try:
        module = SamModule(**checkpoint["hyper_parameters"])
        module.load_state_dict(checkpoint["state_dict"])
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(
            "this checkpoint does not fit this version of samft",
            where=path,
            found=_first_line(error),
            fix="use the version of samft it was trained with",
        ) from error
    module.on_load_checkpoint(checkpoint)
    return module.eval()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
