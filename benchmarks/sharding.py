"""What shards save: peak memory of each process and time of a step, DDP beside FSDP2.

    python -m benchmarks.sharding                              # ViT-L, two processes on the CPU
    python -m benchmarks.sharding --arch vit_b --adapt lora --devices 4 --accelerator gpu

Random weights and one drawn image per process; every strategy is measured in processes of its own.
The first step makes the optimiser's state, the second is timed. A process without a model takes the
first line; what the model adds is the difference to it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from lightning.pytorch import Trainer

from benchmarks.measuring import peak_mb, wait
from benchmarks.results import aligned
from samft import PromptSettings, SamModule, SyntheticDataModule
from samft.sharding import ShardedStrategy

STRATEGIES: Final = ("ddp", "samft_sharded")
_STEPS: Final = 2


class Timed(SamModule):
    """A module that knows how long its last step took."""

    seconds = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock."""
        wait(self.device)
        self._started = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop it."""
        wait(self.device)
        self.seconds = time.perf_counter() - self._started


def measure(strategy: str, options: argparse.Namespace) -> dict[str, float]:
    """Train two steps in this process, one of several, and return what it took here."""
    before = peak_mb(torch.device("cpu"))
    module = Timed(
        options.arch,
        image_size=options.image_size,
        adapt=options.adapt,
        prompts=PromptSettings(rounds=0, extra_passes=0, max_objects_per_image=1),
    )
    data = SyntheticDataModule(
        num_train=_STEPS * options.devices, num_val=0, size=options.image_size, batch_size=1
    )
    trainer = Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        strategy=strategy,
        max_steps=_STEPS,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
    )
    trainer.fit(module, data)
    return {"start": before, "peak": peak_mb(module.device), "seconds": module.seconds}


def run(strategy: str, options: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    """Measure one strategy in processes of its own; return what each of them says."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    given = ["--arch", options.arch, "--adapt", options.adapt, "--accelerator", options.accelerator]
    given += ["--devices", str(options.devices), "--image-size", str(options.image_size)]
    own = ["-m", "benchmarks.sharding", "--worker", strategy, "--out", str(folder), *given]
    command = [sys.executable, *launch, str(options.devices), *own]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{strategy} failed:\n{done.stderr[-2000:]}")
    files = sorted(folder.glob(f"{strategy}_*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def table(found: dict[str, list[dict[str, float]]], *, markdown: bool = False) -> list[str]:
    """Return the lines of the result; the worst process of each strategy counts."""
    rows = [("strategy", "peak per process, MB", "of it the model's, MB", "s per step")]
    for strategy, ranks in found.items():
        peak = max(rank["peak"] for rank in ranks)
        own = max(rank["peak"] - rank["start"] for rank in ranks)
        seconds = max(rank["seconds"] for rank in ranks)
        rows.append((strategy, f"{peak:.0f}", f"{own:.0f}", f"{seconds:.1f}"))
    return list(aligned(rows, markdown=markdown))


def main(given: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit status."""
    options = parse(given)
    if options.worker is not None:
        torch.set_num_threads(options.threads)
        result = measure(options.worker, options)
        rank = torch.distributed.get_rank()
        path = Path(options.out) / f"{options.worker}_{rank}.json"
        path.write_text(json.dumps(result), encoding="utf-8")
        return 0
    with TemporaryDirectory() as folder:
        found = {each: run(each, options, Path(folder)) for each in STRATEGIES}
    print("\n".join(table(found, markdown=options.markdown)))
    return 0


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--arch", default="vit_l")
    parser.add_argument("--adapt", default="full", help="preset of what is trained")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--devices", type=int, default=2, help="processes")
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--worker", choices=STRATEGIES, help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser.parse_args(given)


if __name__ == "__main__":
    assert ShardedStrategy.strategy_name == STRATEGIES[1]  # its import registers the name
    sys.exit(main())
