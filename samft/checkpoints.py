"""Opening a training checkpoint without running anything that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samft.errors import CheckpointError, ConfigError
from samft.models.stored_shapes import check_stored
from samft.models.torch_file import read_torch_file
from samft.module import SamModule

# What a constructor raises for settings of the wrong kind.
_MISFITS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_checkpoint(path: Path) -> dict[str, Any]:  # Any: Lightning's layout is untyped
    """Read a Lightning checkpoint as plain data and tensors.

    Returns:
        What is in the file: `state_dict` has tensors by name, `hyper_parameters` values by name,
        and `samft`, if it is there, what `SamModule.on_save_checkpoint` wrote.

    Raises:
        CheckpointError: if it is unreadable, carries code, or is not a training checkpoint.
    """
    found = read_torch_file(path)
    problem = _problem(found)
    if problem is not None or not isinstance(found, dict):
        raise CheckpointError(
            "this is not a training checkpoint of samft",
            where=path,
            found=problem,
            expected="a .ckpt file written by samft fit",
            fix="to start from plain SAM weights, use --model.weights instead",
        )
    return found


def load_module(path: Path) -> SamModule:
    """Return the module a checkpoint holds, on the CPU, in evaluation mode.

    Memory is taken only for what the file holds: the model that its settings describe is compared
    with its weights first.

    Raises:
        CheckpointError: if it cannot be read or does not fit this version of samft.
    """
    checkpoint = read_checkpoint(path)
    # samft stores no `weights`: a file, or a name on the hub, that a checkpoint must not choose.
    settings = {k: v for k, v in checkpoint["hyper_parameters"].items() if k != "weights"}
    try:
        with torch.device("meta"):
            twin = SamModule(**settings)
        check_stored(twin.state_dict(), checkpoint["state_dict"])
        module = SamModule(**settings)
        module.load_state_dict(checkpoint["state_dict"])
    except ConfigError as error:
        found = f"{error.where}: {str(error.found)[:200]} ({error.what})"
        raise _misfit(path, found, expected=error.expected) from error
    except _MISFITS as error:
        raise _misfit(path, _first_line(error)) from error
    module.on_load_checkpoint(checkpoint)
    return module.eval()


def _problem(found: object) -> str | None:
    """Say what of a checkpoint is missing or of another kind."""
    if not isinstance(found, dict):
        return f"a {type(found).__name__}"
    for name, kind in (("state_dict", Tensor), ("hyper_parameters", object)):
        if name not in found:
            return f"no {name}"
        if not _has_names(found[name], kind):
            return f"a {name} of another kind"
    extra = found.get("samft", {})
    parts = (("base_weights", dict), ("zero_shot", dict), ("history", list))
    if not isinstance(extra, dict):
        return "an entry samft of another kind"
    for name, kind in parts:
        if not isinstance(extra.get(name, kind()), kind):
            return f"samft.{name} of another kind"
    return None


def _has_names(values: object, kind: type) -> bool:
    return isinstance(values, Mapping) and all(
        isinstance(key, str) and isinstance(value, kind) for key, value in values.items()
    )


def _misfit(path: Path, found: str, *, expected: object = None) -> CheckpointError:
    return CheckpointError(
        "this checkpoint does not fit this version of samft",
        where=path,
        found=found,
        expected=expected,
        fix="use the version of samft it was trained with",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
