"""Whether as many processes were started as the trainer expects, before any waits for others."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Trainer

from samft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class _Launch:
    """What a launcher has started: its name, processes on each machine, machines."""

    name: str
    devices: int
    nodes: int


def check_world(trainer: Trainer) -> None:
    """Refuse a launch that does not fit the trainer's devices.

    Too few processes wait for the others for half an hour; too many train on their own, each in the
    files of the others.

    Args:
        trainer: As configured, nothing has started yet.

    Raises:
        ConfigError: with the numbers to set.
    """
    launch = _torchrun() or _slurm()
    if launch is None or (trainer.num_devices, trainer.num_nodes) == (launch.devices, launch.nodes):
        return
    fix = f"set --trainer.devices {launch.devices} --trainer.num_nodes {launch.nodes}"
    if launch.name == "SLURM without srun":
        tasks = trainer.num_devices
        fix = f"put srun in front of samft, in a job with --ntasks-per-node={tasks}"
    raise ConfigError(
        "another number of processes was started than the trainer is set to",
        where=f"trainer.devices and trainer.num_nodes, under {launch.name}",
        found=f"{trainer.num_devices} and {trainer.num_nodes}",
        expected=f"{launch.devices} and {launch.nodes}",
        fix=fix,
    )


def _torchrun() -> _Launch | None:
    if not TorchElasticEnvironment.detect():
        return None
    world, local = (int(os.environ[name]) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return _Launch("torchrun", local, world // local)


def _slurm() -> _Launch | None:
    """Return what `srun` has started; in a shell of `srun --pty` nothing counts."""
    if not SLURMEnvironment.detect():
        return None
    if "SLURM_STEP_NUM_TASKS" not in os.environ:  # which srun sets, and sbatch does not
        return _Launch("SLURM without srun", 1, 1)
    tasks, nodes = (int(os.environ[f"SLURM_STEP_NUM_{name}"]) for name in ("TASKS", "NODES"))
    return _Launch("SLURM", tasks // nodes, nodes)
