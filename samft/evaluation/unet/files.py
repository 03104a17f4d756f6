"""The file of a trained U-Net: weights and plain data, nothing that could run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

import samft
from samft.errors import CheckpointError, ConfigError
from samft.evaluation.unet.module import UNetModule
from samft.evaluation.unet.network import UNetShape
from samft.evaluation.unet.training import Trained
from samft.inference.output_folder import write_atomically
from samft.models.torch_file import read_torch_file

FOLDER: Final = "baselines"
"""Folder of the baselines in a run folder."""
CHECKPOINT: Final = "unet.ckpt"
FACTS: Final = "unet.json"
UNFINISHED: Final = "unet.part.ckpt"
"""The best so far of a training that goes on or was interrupted."""
_FORMAT, _VERSION = "samft-unet", 1
_FIX = "train it again with samft baseline RUN --overwrite"


def save_unet(trained: Trained, path: Path, facts: dict[str, Any]) -> None:  # Any: JSON
    """Write a U-Net, whole or not at all, and what is known of it beside it as JSON.

    Args:
        trained: The U-Net.
        path: The `.ckpt` file; its folder is made.
        facts: What is to be known beside the training's own numbers.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    module = trained.module
    known = {
        "format": _FORMAT,
        "version": _VERSION,
        "samft": samft.__version__,
        "parameters": module.num_parameters,
        "seconds": round(trained.seconds, 3),
        "total_seconds": round(trained.total_seconds, 3),
        "steps": trained.steps,
        "epochs": trained.epochs,
        "best_step": trained.best_step,
        "split": module.split,
        "val": _plain(trained.best),
        "device": trained.device,
        **module.shape.to_dict(),
        **facts,
    }
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "hyper_parameters": module.shape.to_dict(),
        "state_dict": _weights(module),
        "split": module.split,
        "facts": known,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda place: torch.save(content, place))
    history = [_plain(row) for row in trained.history]
    text = json.dumps(known | {"history": history}, indent=2, allow_nan=False) + "\n"
    write_atomically(path.with_suffix(".json"), lambda place: place.write_text(text, "utf-8"))


def remove_unfinished(folder: Path) -> None:
    """Remove what an interrupted training left.

    Args:
        folder: Of the baselines.
    """
    for place in (folder / UNFINISHED, (folder / UNFINISHED).with_suffix(".json")):
        place.unlink(missing_ok=True)


def load_module(path: Path) -> tuple[UNetModule, dict[str, Any]]:  # Any: JSON
    """Read a U-Net that `save_unet` wrote.

    Args:
        path: The `.ckpt` file.

    Returns:
        The module on the CPU in evaluation mode, and what is known of it.

    Raises:
        CheckpointError: if the file is missing, unreadable, unsafe, or holds something else.
        DependencyError: if MONAI is not installed.
    """
    if not path.is_file():
        raise CheckpointError(
            "there is no U-Net here", where=path, fix="train one with samft baseline RUN"
        )
    content = read_torch_file(path)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(
            "this file holds no U-Net of samft",
            where=path,
            expected="a file that samft baseline wrote",
        )
    if content.get("version") != _VERSION:
        raise CheckpointError(
            "this U-Net was written by another version of samft",
            where=path,
            found=f"format version {content.get('version')}",
            expected=_VERSION,
            fix=_FIX,
        )
    try:
        shape = UNetShape.from_dict(content["hyper_parameters"])
        module = UNetModule(**shape.to_dict())
        module.net.load_state_dict(content["state_dict"])
        module.split = bool(content["split"])
    except (AttributeError, ConfigError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            "the weights of this U-Net do not fit what it says it is",
            where=path,
            found=str(error).strip().splitlines()[0][:160],
            fix=_FIX,
        ) from error
    facts = content.get("facts")
    return module.eval(), dict(facts) if isinstance(facts, dict) else {}


def _weights(module: UNetModule) -> dict[str, Tensor]:
    """Return the weights on the CPU; those that the network knows by two names only once."""
    copies: dict[int, Tensor] = {}
    state = module.net.state_dict()
    return {
        name: copies.setdefault(value.data_ptr(), value.detach().to("cpu", copy=True))
        if value.numel()
        else value
        for name, value in state.items()
    }


def _plain(row: dict[str, float]) -> dict[str, float | None]:
    """Return scores as JSON has them, which knows no NaN."""
    return {name: value if value == value else None for name, value in row.items()}
