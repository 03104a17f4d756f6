"""Whether two runs ended with the same files, bit by bit."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from samft.checkpoints import read_checkpoint

_TIMES: Final = ("['trained_seconds']", "['seconds']")
_ABSENT: Final = object()
_SPEED: Final = "speed/"


def differences(one: Path, other: Path) -> list[str]:
    """Return what is not the same in the checkpoints and `metrics.csv` of two runs.

    Everything counts but how long things took and the folders they lie in: weights, averaged
    weights, optimiser, schedules, scores, the state of every callback, loader and loop.

    Args:
        one: A run folder.
        other: Another one.
    """
    names = [f"checkpoints/{name}.ckpt" for name in ("last", "best")]
    found = [
        f"{name} {part}" for name in names for part in _checkpoints_differ(one / name, other / name)
    ]
    rows = [_rows(run / "metrics.csv") for run in (one, other)]
    return found + ["metrics.csv"] * (rows[0] != rows[1])


def _checkpoints_differ(one: Path, other: Path) -> list[str]:
    first, second = (_leaves(read_checkpoint(path), path.parents[1]) for path in (one, other))
    names = first.keys() | second.keys()
    apart = [
        name for name in names if not _same(first.get(name, _ABSENT), second.get(name, _ABSENT))
    ]
    return sorted({name.split("]")[0].strip("['") for name in apart})


def _leaves(content: Any, run: Path) -> dict[str, Any]:  # Any: what a checkpoint holds
    """Return what lies where in a checkpoint, without times, and paths within the run folder."""
    leaves = {}
    for path, value in pytree.tree_flatten_with_path(content)[0]:
        place = pytree.keystr(path)
        if not place.endswith(_TIMES):
            inside = value.replace(str(run), "RUN") if isinstance(value, str) else value
            leaves[place.replace(str(run), "RUN")] = inside
    return leaves


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and torch.equal(_bits(one), _bits(other))
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if not name.startswith(_SPEED)}
            for row in csv.DictReader(file)
        ]
