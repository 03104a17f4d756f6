"""The trainings that are struck: as small as they can be, each with something else to restore."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

Config = dict[str, Any]  # Any: YAML


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way of training.

    Args:
        name: What it is called on the command line and in the table.
        ranks: Processes that train together.
        forked: Start processes as copies of one that has imported everything, which saves its
            seconds for each start; or else from nothing, with torchrun for several.
        batches: Training batches of an epoch and process.
        trainer: Further settings of the trainer.
        data: Further settings of the data.
    """

    name: str
    ranks: int = 1
    forked: bool = True
    batches: int = 16
    trainer: Config = field(default_factory=dict)
    data: Config = field(default_factory=dict)

    @property
    def total_batches(self) -> int:
        """Training batches of the whole run, for each process."""
        return EPOCHS * self.batches

    @property
    def processes(self) -> str:
        """How it is started, in words."""
        if self.forked:
            return f"{self.ranks} forked"
        return "1 new" if self.ranks == 1 else f"torchrun, {self.ranks} new"

    def config(self) -> Config:
        """Return the whole configuration for `samft fit`."""
        trainer: Config = {
            "accelerator": "cpu",
            "max_epochs": EPOCHS,
            "enable_progress_bar": False,
            "log_every_n_steps": 1,
            **self.trainer,
        }
        trace = _callback("benchmarks.soak.trace.Trace")
        trainer["callbacks"] = [*trainer.get("callbacks", []), trace]
        data = {
            "size": 64,
            "num_train": self.batches * self.ranks,
            "num_val": 2 * self.ranks,
            "batch_size": 1,
            "transforms": "flip",
            **self.data,
        }
        return {
            "model": {"class_path": "samft.SamModule", "init_args": _MODEL},
            "data": {"class_path": "samft.SyntheticDataModule", "init_args": data},
            "trainer": trainer,
            "saving": {"every_n_steps": 2},
            "overlays": {"images": 0},
        }


def _callback(path: str, **arguments: Any) -> Config:
    return {"class_path": path, "init_args": arguments}


EPOCHS: Final = 4
_MODEL: Final[Config] = {
    "arch": "vit_nano",
    "image_size": 64,
    "adapt": "late_lora",
    "drop_path": 0.2,  # draws from torch's own generator in every step
    "prompts": {"rounds": 1, "max_objects_per_image": 4},
}
_EMA: Final = {
    "callbacks": [
        _callback("lightning.pytorch.callbacks.EMAWeightAveraging", decay=0.9),
    ]
}
_DDP: Final = {"strategy": "ddp", "devices": 2}
_WORKERS: Final = {"num_workers": 2}

SETTINGS: Final = {
    setting.name: setting
    for setting in (
        Setting(name="plain", forked=False),
        Setting(name="2 workers", data=_WORKERS),
        Setting(name="EMA", trainer=_EMA),
        # The last step of an epoch has one batch instead of three.
        Setting(name="accumulation", batches=25, trainer={"accumulate_grad_batches": 3}),
        Setting(name="DDP", ranks=2, trainer=_DDP),
        Setting(name="DDP + 2 workers + EMA", ranks=2, trainer=_DDP | _EMA, data=_WORKERS),
        Setting(name="shards", ranks=2, trainer={"strategy": "samft_sharded", "devices": 2}),
        Setting(name="DDP by torchrun", ranks=2, forked=False, trainer=_DDP),
    )
}
"""All settings, by name."""
