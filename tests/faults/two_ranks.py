"""Two processes, one of which is told to end: run by `test_two_ranks.py` as a program.

`python two_ranks.py FOLDER` writes what it finds to FOLDER/found.json.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from torch.multiprocessing import ProcessExitedException

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import tiny_run

from samft.callbacks.non_finite import NonFinite
from samft.callbacks.saving import Saving

TWO = {"devices": 2, "strategy": "ddp_fork"}


class TwoRanks(tiny_run.TinyModule):
    """Takes its share of the numbers; one rank spoils a step."""

    def train_dataloader(self):
        loader = tiny_run.numbers_loader(train=True)
        loader.order.rank, loader.order.num_replicas = self.global_rank, 2
        return loader

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if (self.global_rank, self.global_step) == (1, 4) else loss


class EndOneRank(Callback):
    """Sends SIGTERM to the second process alone."""

    def on_train_batch_start(self, trainer: Trainer, pl_module, batch, batch_idx) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def state_of(folder: Path) -> dict:
    return torch.load(tiny_run.last(folder), weights_only=True)


def train(folder: Path, *callbacks: Callback, checkpoint: Path | None = None) -> None:
    skip = NonFinite(action="skip")
    module = TwoRanks()
    tiny_run.fit(folder, Saving(), skip, *callbacks, module=module, checkpoint=checkpoint, **TWO)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    found: dict[str, object] = {}
    train(folder / "whole")
    try:
        train(folder / "cut", EndOneRank())
    except ProcessExitedException as error:
        found["exit_code"] = error.exit_code
    found["step"] = state_of(folder / "cut")["global_step"]
    train(folder / "cut", checkpoint=tiny_run.last(folder / "cut"))
    one, other = state_of(folder / "whole"), state_of(folder / "cut")
    found["same"] = all(
        torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items()
    )
    found["finite"] = all(bool(value.isfinite().all()) for value in one["state_dict"].values())
    found["skipped"] = one["callbacks"]["NonFinite"]["skipped"]
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
