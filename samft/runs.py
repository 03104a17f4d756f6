"""Run folders: where a finished or running training keeps what it made, and how to open one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samft.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from samft.module import SamModule

FIT_CONFIG = "config.fit.yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run folder, or a single checkpoint with as much of its folder as is there.

    Args:
        checkpoint: The `.ckpt` file.
        folder: The run folder, `runs/<recipe>/<n>`; `None` for a checkpoint on its own.
        config: The configuration it was trained with, where it is there.
    """

    checkpoint: Path
    folder: Path | None = None
    config: Path | None = None

    def load(self) -> SamModule:
        """Return the trained `SamModule`, on the CPU, in evaluation mode.

        Raises:
            CheckpointError: if the checkpoint is unreadable or unsafe.
        """
        from samft.checkpoints import load_module

        return load_module(self.checkpoint)


def load_run(path: str | Path, *, which: Literal["best", "last"] = "best") -> Run:
    """Open a run folder or a checkpoint.

    Args:
        path: `runs/<recipe>/<n>`, its `checkpoints` folder, or a `.ckpt` file.
        which: The checkpoint to use of a folder that has both; the other one when it is missing.

    Raises:
        CheckpointError: if there is no checkpoint.
    """
    place = Path(path).expanduser()
    if place.is_file():
        folder = place.parent.parent if place.parent.name == "checkpoints" else place.parent
        return _run(place, folder)
    if place.name == "checkpoints":
        place = place.parent
    if not place.is_dir():
        raise CheckpointError(
            "no such run folder or checkpoint",
            where=place.absolute(),
            fix="give a folder such as runs/quickstart/0, or a .ckpt file",
        )
    other = "last" if which == "best" else "best"
    for name in (which, other):
        checkpoint = place / "checkpoints" / f"{name}.ckpt"
        if checkpoint.is_file():
            return _run(checkpoint, place)
    raise CheckpointError(
        "this folder holds no checkpoint",
        where=place.absolute(),
        expected="checkpoints/best.ckpt or checkpoints/last.ckpt",
        fix="give the folder of one run, such as runs/quickstart/0",
    )


def _run(checkpoint: Path, folder: Path) -> Run:
    config = folder / FIT_CONFIG
    if not config.is_file():
        return Run(checkpoint=checkpoint)
    return Run(checkpoint=checkpoint, folder=folder, config=config)


def new_run_folder(root: Path, name: str) -> Path:
    """Return the first `root/name/<n>` that does not exist yet; does not create it.

    Raises:
        ConfigError: if `root` or `root/name` is a file.
    """
    parent = root / name
    for place in (root, parent):
        if place.is_file():
            raise ConfigError("the runs folder is a file", where=place, fix="move it away")
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdigit()]
    return parent / str(max(taken, default=-1) + 1)
