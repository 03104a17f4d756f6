"""Read and write the files of an adapter folder: safetensors and JSON, never a pickle."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from samft.errors import CheckpointError, MachineError, OutputError

_MAX_JSON_BYTES: Final = 2**20
_SHOWN = 3
_AGAIN = "copy the whole folder again"


class FolderWriter:
    """Writes files into a folder that nobody sees yet.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors as safetensors, each with a storage of its own."""
        plain = {
            key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, tensor in tensors.items()
        }
        save_file(plain, self.path / name, metadata={"format": "pt"})

    def json(self, name: str, values: Mapping[str, Any]) -> None:  # Any: plain data
        """Write plain data as JSON."""
        text = json.dumps(values, indent=2, sort_keys=True)
        (self.path / name).write_text(text + "\n", encoding="utf-8")


@contextmanager
def written_folder(path: Path) -> Iterator[FolderWriter]:
    """Give a writer whose folder becomes `path` once everything in it is written.

    Raises:
        OutputError: if `path` has something in it.
        MachineError: if the disk is full or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(
            "the adapter folder exists and is not empty", where=path, fix="choose another name"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        try:
            yield FolderWriter(temporary)
            for file in temporary.iterdir():
                _to_disk(file)
            if path.exists():
                path.rmdir()
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise MachineError(
            "the adapter could not be written",
            where=path,
            found=str(error)[:160],
            fix="check the free disk space and the permissions of the folder",
        ) from error


def _to_disk(file: Path) -> None:
    with file.open("rb+") as opened:
        os.fsync(opened.fileno())


def read_json(path: Path) -> dict[str, Any]:  # Any: JSON
    """Read a JSON object of at most 1 MB.

    Raises:
        CheckpointError: if it is missing, too large, or no JSON object.
    """
    try:
        size = path.stat().st_size
        found = json.loads(path.read_bytes()) if size <= _MAX_JSON_BYTES else f"{size} bytes"
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            "a file of the adapter folder cannot be read",
            where=path,
            found=f"{type(error).__name__}: {str(error)[:80]}",
            fix=_AGAIN,
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(
            "a file of the adapter folder is not what its name says",
            where=path,
            found=str(found)[:60],
            expected="a JSON object",
            fix=_AGAIN,
        )
    return found


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file to the CPU.

    Raises:
        CheckpointError: if it is missing, damaged, or holds values that are not finite.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(
            "a file of the adapter folder is missing or damaged",
            where=path,
            found=str(error)[:160],
            fix=_AGAIN,
        ) from error
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                "the adapter holds values that are not finite",
                where=f"{path}: {key}",
                fix="take an earlier checkpoint; the training had diverged",
            )
    return tensors


def same_names(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, where: object
) -> None:
    """Check that both have the same names with the same shapes and types.

    Raises:
        CheckpointError: naming what is missing, unexpected, or different.
    """
    differing = [
        f"{key} {_kind(found[key])} instead of {_kind(tensor)}"
        for key, tensor in expected.items()
        if key in found and _kind(found[key]) != _kind(tensor)
    ]
    problems = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "of another shape or type": differing,
    }
    told = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in problems.items() if keys]
    if told:
        raise CheckpointError(
            "the tensors of the adapter do not fit its settings and the model",
            where=where,
            found=f"of {len(expected)} tensors: {', '.join(told)}",
            fix="copy the whole folder again, and load it into the architecture it was trained in",
        )


def _kind(tensor: Tensor) -> str:
    # Half and single precision are both fine: values are converted.
    return f"{tuple(tensor.shape)}{'' if tensor.is_floating_point() else f' {tensor.dtype}'}"


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:_SHOWN]) + (", ..." if len(keys) > _SHOWN else "")
