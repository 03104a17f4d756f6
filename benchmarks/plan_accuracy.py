"""Compares the memory that `samft fit --plan` estimates with what `samft fit` then takes.

Ten configurations, random weights, drawn images, two steps each and a checkpoint, no validation.
Every number comes from a fresh process: the estimate as `--plan` makes it, and the peak of the
resident memory (on a GPU: of what PyTorch reserved) after the fit. The same fit takes up to a tenth
more or less from run to run on a CPU, where places in memory differ: the median of three counts,
and the least and the most are shown. Exit code 1 if one estimate is off by more than 15 %.

    python -m benchmarks.plan_accuracy
    python -m benchmarks.plan_accuracy --only 0 3
    python -m benchmarks.plan_accuracy --results plan.json --markdown   # goes on where it stopped
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import torch

from benchmarks.measuring import peak_mb
from benchmarks.results import (
    Result,
    Results,
    aligned,
    read_results,
    run_worker,
    write_results,
)
from samft.cli.lightning import run
from samft.cli.plan import PlanCLI

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


def name_of(case: Case) -> str:
    """Return what a case is called in results and tables."""
    arch, side, images, preset, further = case
    options = "".join(f", {word.split('.')[-1]}" for word in further if word.startswith("--model."))
    return f"{arch}, {side} px, {images} images, {preset}{options}"


def _measured(index: int, threads: int, repeat: int) -> Result:
    def ask(what: str) -> Result:
        words = ("--worker", what, "--only", str(index))
        return run_worker("benchmarks.plan_accuracy", words, threads=threads)

    found = ask("plan")
    fits = [ask("fit") for _ in range(repeat)]
    failed = [each for each in (found, *fits) if "failed" in each]
    if failed:
        return failed[0]
    peaks = sorted(fit["peak"] for fit in fits)
    return found | {"peak": median(peaks), "peaks": peaks}


def run_all(chosen: Iterable[int], *, threads: int, repeat: int, path: Path | None) -> Results:
    """Measure what is not among the results yet, and note each result at once."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    setup = {"torch": torch.__version__, "device": device, "threads": threads, "repeat": repeat}
    results = read_results(path, setup)
    for index in chosen:
        name = name_of(CASES[index])
        if name in results:
            continue
        results[name] = found = _measured(index, threads, repeat)
        print(f"{name}: {found}", file=sys.stderr, flush=True)
        write_results(path, setup, results)
    return results


def off(result: Result) -> float:
    """Return how far an estimate is off, as a share of what was measured."""
    return float(result["total"] / result["peak"] - 1)


def table(results: Results, *, markdown: bool = False) -> Iterable[str]:
    """Yield the lines of the table: estimated, measured, and how far it is off."""
    rows = [["configuration", "estimated, MiB", "measured, MiB", "least to most", "off"]]
    for name, result in results.items():
        if "failed" in result:
            rows.append([name, "failed", result["failed"], "", ""])
        else:
            numbers = (f"{result[each]:.0f}" for each in ("total", "peak"))
            span = f"{result['peaks'][0]:.0f} to {result['peaks'][-1]:.0f}"
            rows.append([name, *numbers, span, f"{off(result):+.1%}"])
    return aligned(rows, markdown=markdown)


def main() -> int:
    """Run the benchmark, or one of its measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--only", type=int, nargs="+", default=list(range(len(CASES))))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3, help="fits, of which the median counts")
    parser.add_argument("--results", type=Path, help="JSON file of results, read and written")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--worker", choices=("plan", "fit"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        print(json.dumps(work(options.only[0], plan=options.worker == "plan")))
        return 0
    results = run_all(
        options.only, threads=options.threads, repeat=options.repeat, path=options.results
    )
    print("\n".join(table(results, markdown=options.markdown)))
    failed = any("failed" in result for result in results.values())
    worst = max((abs(off(each)) for each in results.values() if "failed" not in each), default=0.0)
    print(f"\nworst: {worst:.1%} of at most {WORST:.0%}; torch {torch.__version__}")
    return int(failed or worst > WORST)


if __name__ == "__main__":
    sys.exit(main())
