"""What a run folder says about where its weights come from: `env.json` and `data.json`."""

from __future__ import annotations

import logging

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from samft.callbacks.run_folder import run_folder
from samft.errors import MachineError
from samft.run_data import DATA_RECORD, describe_data
from samft.run_environment import (
    ENVIRONMENT_RECORD,
    Described,
    describe_environment,
    read_settings,
    write_record,
)
from samft.runs import FIT_CONFIG

_log = logging.getLogger(__name__)


class RunRecord(Callback):
    """Writes down, when training starts, the data and everything else the run depends on.

    What a run folder holds already stays.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See the class."""
        folder = run_folder(trainer)
        if not trainer.is_global_zero or vars(trainer)["fast_dev_run"] or folder is None:
            return
        environment, data = folder / ENVIRONMENT_RECORD, folder / DATA_RECORD
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not environment.is_file():
                settings = {"settings": read_settings(folder / FIT_CONFIG)}
                write_record(environment, environment_of(trainer, pl_module) | settings)
            if not data.is_file():
                write_record(data, describe_data(getattr(trainer, "datamodule", None)))
        except (OSError, MachineError) as error:
            _log.warning("the run is not recorded: %s", error)


def environment_of(trainer: Trainer, pl_module: LightningModule) -> Described:
    """Return what the run is made with."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return describe_environment(
        device=name,
        world_size=trainer.world_size,
        precision=str(trainer.precision),
        seed=int(getattr(pl_module, "seed", 0)),
    )
