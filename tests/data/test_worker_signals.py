"""Signals meant for a training also reach the processes of its loader, which outlive them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from samft.callbacks.stopping import TrainingStopped
from samft.data.loader import ResumableLoader, ResumableSampler

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults.tiny_run import BATCHES, Numbers, TinyModule, fit, last

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "sigwaitinfo"), reason="the system does not say who has sent a signal"
)


def loader(workers: int) -> ResumableLoader[torch.Tensor]:
    sampler = ResumableSampler(2 * BATCHES, seed=3, shuffle=True)
    return ResumableLoader(
        Numbers(), sampler, batch_size=2, num_workers=workers, collate_fn=torch.stack
    )


def send(name: str, pids: list[int]) -> None:
    """Send a signal as another program does."""
    subprocess.run(["kill", f"-{name}", *map(str, pids)], check=True)


def test_loaders_outlive_signals_of_others() -> None:
    expected = list(loader(0))
    loading = loader(2)
    batches = iter(loading)
    first = next(batches)
    workers = loading._iterator._workers
    for name in ("TERM", "INT", "USR1", "TERM"):
        send(name, [worker.pid for worker in workers])
    torch.testing.assert_close([first, *batches], expected, rtol=0, atol=0)
    assert all(worker.is_alive() for worker in workers)
    workers[0].terminate()  # by this process, as torch does where one hangs
    workers[0].join(20)
    assert workers[0].exitcode == 0


class FromAbove(Callback):
    """Sends SIGTERM to the training and to its loaders at once, as SLURM and torchrun do."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == 1:
            workers = trainer.train_dataloader._iterator._workers
            send("TERM", [*(worker.pid for worker in workers), os.getpid()])


class WithLoaders(TinyModule):
    def train_dataloader(self) -> ResumableLoader[torch.Tensor]:
        return loader(2)


def test_a_signal_to_all_processes_saves_the_step(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped) as stopped:
        fit(tmp_path, FromAbove(), module=WithLoaders())
    assert stopped.value.code == 143
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 2
