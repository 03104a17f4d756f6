"""Compares the memory that `samft fit --plan` estimates with what `samft fit` then takes.

Ten configurations, random weights, drawn images, two steps each, no validation. Every number comes
from a fresh process: the estimate as `--plan` makes it, and the peak of the resident memory (on a
GPU: of what PyTorch reserved) after the fit. Exit code 1 if one estimate is off by more than 15 %.

    python -m benchmarks.plan_accuracy
    python -m benchmarks.plan_accuracy --only 0 3
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

from benchmarks.measuring import peak_mb
from samft.cli.lightning import run
from samft.cli.plan import PlanCLI

ROOT = Path(__file__).parents[1]
WORST = 0.15
_MIB = 2**20

# (name, size of the image, images, preset, further options)
Case = tuple[str, int, int, str, tuple[str, ...]]
CHECKPOINTED = ("--model.checkpoint_blocks", "true")
CACHED = ("--model.cache_embeddings", "float16", "--data.variants", "1")
CASES: tuple[Case, ...] = (
    ("vit_nano", 256, 4, "full", ()),
    ("vit_nano", 256, 16, "full", CHECKPOINTED),
    ("vit_nano", 512, 2, "lora", ()),
    ("vit_nano", 512, 4, "frozen", ()),
    ("vit_b", 256, 2, "full", ()),
    ("vit_b", 256, 8, "lora", ()),
    ("vit_b", 384, 4, "late_lora", ()),
    ("vit_b", 512, 2, "frozen", CACHED),
    ("vit_b", 512, 1, "late", ()),
    ("vit_b", 512, 2, "full", CHECKPOINTED),
)


def arguments(case: Case, runs: str) -> list[str]:
    """Return the command line of a case."""
    arch, side, images, preset, further = case
    return [
        *("fit", "--model", "samft.SamModule", "--model.arch", arch),
        *("--model.image_size", str(side), "--model.adapt", preset),
        *("--model.prompts.rounds", "2", "--model.prompts.extra_passes", "1"),
        *("--model.prompts.max_objects_per_image", "8"),
        *("--data", "samft.SyntheticDataModule", "--data.size", str(side)),
        *("--data.batch_size", str(images), "--data.num_train", str(2 * images)),
        *("--data.num_val", "1", "--trainer.limit_val_batches", "0"),
        *("--trainer.num_sanity_val_steps", "0", "--trainer.max_steps", "2"),
        *("--trainer.enable_progress_bar", "false", "--trainer.devices", "1"),
        *("--overlays.images", "0", "--runs", runs, *further),
    ]


def work(index: int, *, plan: bool) -> dict[str, float]:
    """Estimate or measure a case in this process, in MiB."""
    with tempfile.TemporaryDirectory() as place:
        os.environ["SAMFT_CACHE"] = place
        words = arguments(CASES[index], place)
        if not plan:
            line = run(words)
            device = line.trainer.strategy.root_device
            if device.type == "cuda":
                return {"peak": torch.cuda.max_memory_reserved(device) / _MIB}
            return {"peak": peak_mb(device)}
        estimate = run(words, PlanCLI).estimate
    on_gpu = torch.cuda.is_available()
    total = estimate.tensors if on_gpu else estimate.total
    return {"total": total / _MIB} | {name: size / _MIB for name, size in estimate.parts.items()}


def run_process(index: int, what: str) -> dict[str, float]:
    """Do the work in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.plan_accuracy", "--worker", what]
    done = subprocess.run(
        [*command, "--only", str(index)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def lines(chosen: Iterable[int]) -> Iterable[tuple[str, float]]:
    """Yield the line of each case and how far the estimate is off."""
    for index in chosen:
        arch, side, images, preset, further = CASES[index]
        planned = run_process(index, "plan")
        peak = run_process(index, "fit")["peak"]
        off = planned.pop("total") / peak - 1
        name = f"{arch} {side} px, {images} images, {preset} {' '.join(further[:2])}".strip()
        parts = ", ".join(f"{part} {size:.0f}" for part, size in planned.items())
        total = peak * (1 + off)
        text = f"{name:64} {total:6.0f} MiB estimated, {peak:6.0f} measured, {off:+6.1%}"
        yield f"{text}   ({parts})", off


def main() -> int:
    """Run the benchmark, or one of its measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", type=int, nargs="+", default=list(range(len(CASES))))
    parser.add_argument("--worker", choices=("plan", "fit"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(work(options.only[0], plan=options.worker == "plan")))
        return 0
    worst = 0.0
    for text, off in lines(options.only):
        print(text, flush=True)
        worst = max(worst, abs(off))
    print(f"worst: {worst:.1%} of at most {WORST:.0%}; torch {torch.__version__}")
    return int(worst > WORST)


if __name__ == "__main__":
    sys.exit(main())
