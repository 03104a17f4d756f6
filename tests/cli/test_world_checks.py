"""torchrun and srun start as many processes as the trainer expects, or it says so at once."""

import pytest
from lightning.pytorch import Trainer

from samft.cli.world_checks import check_world
from samft.errors import ConfigError

TORCHRUN = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
BATCH = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "job.sh", "SLURM_JOB_ID": "7"}
NO_SRUN = "put srun in front of samft, in a job with --ntasks-per-node"
SRUN = BATCH | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


def trainer(devices: int, nodes: int = 1) -> Trainer:
    return Trainer(
        accelerator="cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="auto" if devices * nodes == 1 else "ddp",
        logger=False,
        enable_checkpointing=False,
    )


def launched(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name in (*TORCHRUN, *SRUN, "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def torchrun(world: int, local: int) -> dict[str, str]:
    return TORCHRUN | {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(local)}


@pytest.mark.parametrize(
    ("given", "devices", "nodes"),
    [
        ({}, 2, 1),
        (torchrun(2, 2), 2, 1),
        (torchrun(4, 2), 2, 2),
        (SRUN, 2, 2),
        (BATCH | {"SLURM_JOB_NAME": "bash"}, 2, 1),  # a shell in a job
        (BATCH, 1, 1),
    ],
)
def test_what_fits(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], devices: int, nodes: int
) -> None:
    launched(monkeypatch, {})
    made = trainer(devices, nodes)
    launched(monkeypatch, given)
    check_world(made)


@pytest.mark.parametrize(
    ("given", "devices", "nodes", "name", "fix"),
    [
        (torchrun(4, 4), 2, 1, "torchrun", "set --trainer.devices 4 --trainer.num_nodes 1"),
        (torchrun(4, 4), 1, 1, "torchrun", "set --trainer.devices 4 --trainer.num_nodes 1"),
        (torchrun(4, 2), 4, 1, "torchrun", "set --trainer.devices 2 --trainer.num_nodes 2"),
        (SRUN, 4, 1, "SLURM", "set --trainer.devices 2 --trainer.num_nodes 2"),
        (SRUN, 1, 1, "SLURM", "set --trainer.devices 2 --trainer.num_nodes 2"),
        (BATCH, 2, 2, "SLURM without srun", f"{NO_SRUN}=2"),
    ],
)
def test_what_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    devices: int,
    nodes: int,
    name: str,
    fix: str,
) -> None:
    launched(monkeypatch, {})
    made = trainer(devices, nodes)
    launched(monkeypatch, given)
    with pytest.raises(ConfigError) as caught:
        check_world(made)
    what, where, advice = str(caught.value).splitlines()
    assert what == "another number of processes was started than the trainer is set to"
    assert where.startswith(
        f"  where: trainer.devices and trainer.num_nodes, under {name}, "
        f"found: {devices} and {nodes}, expected: "
    )
    assert advice == f"  fix: {fix}"
