"""What two processes do together in one launch of torchrun; starting processes takes longest.

Run by `test_two_processes.py`: `torchrun --nproc-per-node 2 jobs.py FOLDER DSB`. Every rank writes
what it saw to FOLDER.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor
from torch.utils.data import DataLoader

from samft import MicroscopyDataModule, PromptSettings, SamModule, SyntheticDataModule
from samft.sharding import ShardedStrategy

COUNTS = (0, 1, 3, 40)
PRESETS = ("frozen", "late_lora", "lora", "full")
STRATEGIES = {"ddp": lambda: "ddp", "sharded": ShardedStrategy}
STEPS, IMAGES = 2, 8
SETTINGS = {"late_lora": {"accumulate_grad_batches": 2, "gradient_clip_val": 0.05}}  # of trainers


def points(count: int) -> Tensor:
    """Return the points that `Line` is fitted to."""
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(count)) / 8


def fitted(adapt: str, *, strategy: Any = "auto", out: Path | None = None) -> SamModule:
    """Return a small model after two steps of four images, over all processes together."""
    torch.manual_seed(0)
    world = 1 if strategy == "auto" else 2
    module = SamModule(
        "vit_nano", image_size=64, adapt=adapt, prompts=PromptSettings(rounds=2), seed=3
    )
    settings = SETTINGS.get(adapt, {})
    size = 4 // world // settings.get("accumulate_grad_batches", 1)
    data = SyntheticDataModule(num_train=IMAGES, num_val=3, size=64, batch_size=size)
    run = trainer(strategy, max_steps=STEPS, limit_val_batches=0, **settings)
    run.fit(module, data)
    if out is not None:
        run.save_checkpoint(out)
    return module


def scores(*, strategy: Any = "auto") -> dict[str, float]:
    """Return the validation scores of a fresh model on three images."""
    torch.manual_seed(0)
    module = SamModule("vit_nano", image_size=64, validation_clicks=3)
    data = SyntheticDataModule(num_train=1, num_val=3, size=64)
    (found,) = trainer(strategy).validate(module, data, verbose=False)
    return dict(found)


def trainer(strategy: Any, **settings: Any) -> Trainer:
    """Return a quiet trainer on one or two processes."""
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    given: dict[str, Any] = dict.fromkeys(quiet, False) | {"num_sanity_val_steps": 0} | settings
    devices = 1 if strategy == "auto" else 2
    return Trainer(accelerator="cpu", devices=devices, strategy=strategy, **given)


class Line(LightningModule):
    """A line fitted to batches of any number of points; gradients as samft weighs them."""

    def __init__(self) -> None:
        from samft.accumulation import ObjectMean

        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.object_mean = ObjectMean()
        self.seen: list[Tensor] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        own = batch[self.global_rank % len(batch)]
        loss = (own @ self.weight).square().sum() / max(1, len(own))
        return self.object_mean.weigh(loss, len(own), batch_idx=batch_idx, trainer=self.trainer)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.object_mean.divide([self.weight], trainer=self.trainer)
        self.seen.append(self.weight.grad.clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def line_gradient() -> list[float]:
    """Return the gradient of two batches on each of two processes, of very unequal size."""
    module, batches = Line(), [points(count) for count in COUNTS]
    settings = {"accumulate_grad_batches": 2, "use_distributed_sampler": False, "max_epochs": 1}
    pairs = [batches[:2], batches[2:]]  # of each pair, every process takes its own
    trainer("ddp", **settings).fit(module, DataLoader(pairs, batch_size=None))
    return module.seen[0].tolist()


class Recorder(LightningModule):
    """Notes which samples come."""

    image_size = 32

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen: dict[str, list[Any]] = {"train": [], "val": []}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.seen["train"].append(list(batch.sample_ids))
        return self.weight * batch.images.float().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.seen["val"] += batch.sample_ids

    def predict_step(self, batch: Any, batch_idx: int) -> str:
        return batch.sample_ids[0]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def shares(folder: str) -> dict[str, list[Any]]:
    """Return which samples this process saw in two epochs, and in prediction."""
    module = Recorder()
    data = MicroscopyDataModule(root=folder, batch_size=2, val_fraction=0.5)
    run = trainer("ddp", max_epochs=2)
    run.fit(module, datamodule=data)
    predicted = run.predict(module, datamodule=data)
    return module.seen | {"predicted": predicted}


def one_kind_of_prompt_each() -> float:
    """Train the prompt encoder where one process has boxes alone and the other points alone.

    Returns:
        The largest difference between the processes' weights afterwards.
    """
    torch.manual_seed(0)
    module = SamModule("vit_nano", image_size=64, adapt="full", prompts=PromptSettings(rounds=0))
    rank = int(torch.distributed.get_rank())
    module.objective.prompts = PromptSettings(rounds=0, point_probability=float(rank))
    from samft.prompts.simulators import build_simulator

    module.objective.simulator = build_simulator(module.objective.prompts)
    data = SyntheticDataModule(num_train=4, num_val=0, size=64, batch_size=1)
    trainer("ddp", max_steps=2).fit(module, data)
    own = torch.cat([p.detach().flatten() for p in module.sam.parameters()])
    both = [torch.zeros_like(own) for _ in range(2)]
    torch.distributed.all_gather(both, own)
    return float((both[0] - both[1]).abs().max())


def statistics_apart() -> tuple[float, float]:
    """Validate where averaged weights and their statistics have come apart.

    Returns:
        The largest difference of a buffer between the processes, before and in the validation.
    """
    found: list[float] = []

    class Look(Callback):
        def on_validation_start(self, trainer: Trainer, module: Any) -> None:
            rank = float(torch.distributed.get_rank())
            for average in module.averages.module.sam.buffers():
                average.data.add_(rank if average.is_floating_point() else int(rank))
            found.append(buffers_apart(module.averages.module.sam))

        def on_validation_batch_start(self, trainer: Trainer, module: Any, *_: Any) -> None:
            found.append(buffers_apart(module.sam))

    average = EMAWeightAveraging(decay=0.5)
    module = SamModule("vit_nano", image_size=64, adapt="full", prompts=PromptSettings(rounds=0))

    class Keep(Callback):
        def on_train_start(self, *_: Any) -> None:
            object.__setattr__(module, "averages", average._average_model)

    data = SyntheticDataModule(num_train=2, num_val=2, size=64, batch_size=1)
    trainer("ddp", max_steps=1, callbacks=[average, Keep(), Look()]).fit(module, data)
    return found[0], found[1]


def buffers_apart(sam: torch.nn.Module) -> float:
    """Return the largest difference of a buffer between the processes."""
    own = torch.cat([buffer.detach().double().flatten() for buffer in sam.buffers()])
    both = [torch.zeros_like(own) for _ in range(2)]
    torch.distributed.all_gather(both, own)
    return float((both[0] - both[1]).abs().max())


def command_line(out: Path, strategy: str) -> str:
    """Train with `samft fit`; return what it printed in this process."""
    from samft.cli.entry import main as samft

    words = [
        *("fit", "--runs", str(out / "runs"), "--model", "samft.SamModule"),
        *("--model.arch", "vit_nano", "--model.image_size", "64"),
        *("--model.prompts.rounds", "0", "--model.prompts.max_objects_per_image", "3"),
        *("--data", "samft.SyntheticDataModule", "--data.size", "64", "--data.num_train", "4"),
        *("--data.num_val", "2", "--data.batch_size", "auto", "--trainer.max_epochs", "1"),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", strategy),
        *("--trainer.enable_progress_bar", "false", "--overlays.images", "1"),
    ]
    with redirect_stdout(StringIO()) as printed:
        assert samft(words) == 0
    return printed.getvalue()


def lose_a_process(run: Path) -> None:
    """Train while the second process is killed in the second epoch; never returns."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from faults import tiny_run
    from faults.two_ranks import TwoRanks

    class Die(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_rank == 1 and trainer.current_epoch == 1:
                os.kill(os.getpid(), signal.SIGKILL)

    tiny_run.fit(run, Die(), module=TwoRanks(), devices=2, strategy="ddp")


def main(out: Path, folder: str) -> None:
    """Do everything, and write what this process saw."""
    import memory_jobs  # which import this module
    import resume_jobs

    torch.set_num_threads(1)
    found: dict[str, Any] = {"line": line_gradient(), "shares": shares(folder)}
    for name, make in STRATEGIES.items():
        found[f"scores_{name}"] = scores(strategy=make())
        for adapt in PRESETS:
            fitted(adapt, strategy=make(), out=out / f"{name}_{adapt}.ckpt")
    found["apart"] = one_kind_of_prompt_each()
    found["statistics"] = statistics_apart()
    found |= {
        "cached": memory_jobs.embeddings_are_cached(out / "embeddings"),
        "batches": memory_jobs.batches_that_fit(),
        "pieces": memory_jobs.pieces_on_one_process(),
        "refused": memory_jobs.refused_in_shards() | {"few": memory_jobs.too_few_images()},
    }
    resume_jobs.all_ways(out)
    found["printed"] = command_line(out, "ddp")
    command_line(out / "sharded", "samft_sharded")
    rank = torch.distributed.get_rank()
    (out / f"{rank}.json").write_text(json.dumps(found))
    lose_a_process(out / "lost")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
