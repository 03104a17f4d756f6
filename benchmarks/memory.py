"""Measures the memory and time of fine-tuning against `transformers` + peft and `segment_anything`.

    python -m benchmarks.memory                              # ViT-B; 512 px on a CPU, 1024 on a GPU
    python -m benchmarks.memory --only lora full --markdown  # some methods, as a Markdown table
    python -m benchmarks.memory --results memory.json        # goes on where an earlier call stopped

All programs train the same weights of the same architecture (random ones) with the same prompts and
the same loss (`benchmarks/adapted_steps.py`). Every measurement is its own process: two steps, of
which the second is timed, and the highest memory of both, on a CPU above what the process held
after its imports. The embeddings of `cached` are computed before: by samft in an earlier process,
which leaves them on disk; the peers have no such thing and are given them in memory.

A second table compares epochs with and without cached embeddings.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.adapted_steps import (
    METHODS,
    OFFICIAL,
    PROGRAMS,
    SAMFT,
    Case,
    build_module,
    build_step,
    distinct_images,
)
from benchmarks.measuring import peak_mb, timed
from benchmarks.results import Result, Results, aligned, read_results, run_worker, write_results
from benchmarks.train_step import make_batch
from samft.allocator import keep_freed_memory
from samft.optim import OptimizerSettings, build_optimizer
from samft.types import SamBatch

EPOCH: Final = "epoch"
"""The name of the measurement of epochs, beside `METHODS`."""
CLOCKS: Final = {"wall": "seconds", "cpu": "cpu_seconds"}
"""Wall time, or processor time of all threads, which other work on the machine disturbs less."""
_SETUP: Final = ("arch", "size", "images", "objects", "threads", "device", "precision", "torch")


def measure(case: Case, options: argparse.Namespace) -> Result:
    """Measure a step in this process."""
    place, base = torch.device(options.device), 0.0
    if case.program == SAMFT:
        keep_freed_memory()  # as `samft fit` does
    else:
        _import_peers(case)
    if place.type == "cpu":
        base = peak_mb(place)
    torch.manual_seed(0)
    (batch,) = distinct_images(_batch(options), [0])
    step = build_step(case, batch, arch=options.arch)
    with _precision(options):
        first = step.run()
        seconds, cpu_seconds = timed(step.run, place)
    step.close()
    return asdict(case) | {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": peak_mb(place) - base,
        "trained": step.num_trained,
        "first_loss": first,
    }


def measure_epochs(options: argparse.Namespace) -> Result:
    """Measure samft's epochs over a few images in this process, in seconds per image."""
    keep_freed_memory()
    place, batches = torch.device(options.device), distinct_images(_batch(options), range(4))
    count = len(batches) * options.images
    found: Result = {"images": count}
    for method in ("frozen", "cached"):
        torch.manual_seed(0)
        case = Case(SAMFT, method)
        module = build_module(case, arch=options.arch, side=options.size).to(place)
        optimizer = build_optimizer(module, OptimizerSettings())

        def train(parts: list[SamBatch], module: Any = module, optimizer: Any = optimizer) -> None:
            for batch in parts:
                optimizer.zero_grad()
                module.training_loss(batch, step=0).total.backward()
                optimizer.step()

        def encode(module: Any = module) -> None:
            for batch in batches:
                with torch.no_grad():
                    module.encode(batch)

        with _precision(options):
            # With a cache this is the epoch that computes and stores.
            train(batches if method == "cached" else batches[:1])
            for part, function in (("epoch", lambda: train(batches)), ("encoder", encode)):
                for clock, seconds in zip(CLOCKS.values(), timed(function, place), strict=True):
                    found[f"{method}_{part}_{clock}"] = seconds / count
        module.teardown("fit")
    return found


def _import_peers(case: Case) -> None:
    """Import what is not the model's memory."""
    if case.program != OFFICIAL:
        import transformers

        _ = transformers.SamModel
    with contextlib.suppress(ImportError):
        import peft

        _ = peft.LoraConfig


def _batch(options: argparse.Namespace) -> SamBatch:
    return make_batch(options.images, options.objects, options.size).to(options.device)


def _precision(options: argparse.Namespace) -> torch.autocast:
    enabled = options.precision == "bf16"
    return torch.autocast(torch.device(options.device).type, torch.bfloat16, enabled=enabled)


def run_process(name: str, options: argparse.Namespace, cache: str) -> Result:
    """Measure in a fresh process; `name` is that of a case, or `EPOCH`."""
    command = ["--worker", name]
    for option in ("arch", "size", "images", "objects", "device", "precision", "threads"):
        command += [f"--{option}", str(getattr(options, option))]
    return run_worker("benchmarks.memory", command, threads=options.threads, SAMFT_CACHE=cache)


def name_of(case: Case) -> str:
    """Return the name of a case on the command line and in the results."""
    return ":".join([case.program, case.method, *(["checkpointing"] if case.checkpointing else [])])


def case_of(name: str) -> Case:
    """Return the case of a name."""
    program, method, *rest = name.split(":")
    return Case(program, method, bool(rest))


def wanted(options: argparse.Namespace) -> list[str]:
    """Return the names of what is to be measured."""
    cases = [
        Case(program, method, checkpointing)
        for method in METHODS
        for checkpointing in (False, True)
        for program in PROGRAMS
    ]
    chosen = set(options.only)
    names = [name_of(case) for case in cases if case.is_possible and case.method in chosen]
    names = [name for name in names if case_of(name).program in options.programs]
    return names + ([EPOCH] if EPOCH in chosen else [])


def run_all(options: argparse.Namespace) -> Results:
    """Measure what is not among the results yet, and note each result at once."""
    setup = {name: getattr(options, name) for name in _SETUP}
    results = read_results(options.results, setup)
    with tempfile.TemporaryDirectory() as cache:
        for name in wanted(options):
            if name in results:
                continue
            if name.endswith("cached") and name.startswith(SAMFT):
                run_process(name, options, cache)  # fills the cache
            again = [run_process(name, options, cache) for _ in range(options.repeat)]
            results[name] = _best(again)
            print(f"{name}: {results[name]}", file=sys.stderr, flush=True)
            write_results(options.results, setup, results)
    return results


def _best(found: list[Result]) -> Result:
    """Return the smallest of every number; a process that failed makes a failure."""
    failed = [item for item in found if "failed" in item]
    return failed[0] if failed else {name: min(item[name] for item in found) for name in found[0]}


def table(results: Results, *, clock: str = "wall", markdown: bool = False) -> Iterable[str]:
    """Yield the lines of the comparison with the peers.

    Ratios are samft's memory as a share of the peer's, and the peer's time as a multiple of
    samft's. `segment_anything` has no checkpointing: such rows compare with its plain step.
    """
    head = ["method", "checkpointing", "trained"]
    for program in PROGRAMS:
        head += [f"{program} MB", "s"]
    rows = [[*head, "memory of transformers", "of segment_anything", "faster", "faster"]]
    for method in METHODS:
        for checkpointing in (False, True):
            row = _row(results, method, checkpointing, CLOCKS[clock])
            if row:
                rows.append(row)
    yield from aligned(rows, markdown=markdown)


def _row(results: Results, method: str, checkpointing: bool, time: str) -> list[str]:
    found = [results.get(name_of(Case(program, method, checkpointing)), {}) for program in PROGRAMS]
    if not any(found):
        return []
    ours, theirs = found[0], found[1:]
    if checkpointing:
        theirs[1] = results.get(name_of(Case(OFFICIAL, method)), {})
    trained = {f"{item['trained'] / 1e6:.2f}M" for item in found if "trained" in item}
    cells = [method, "yes" if checkpointing else "no", " / ".join(sorted(trained))]
    for item in found:
        cells += [_cell(item, "peak_mb", ".0f"), _cell(item, time, ".2f")]
    cells += [_ratio(ours, item, "peak_mb") for item in theirs]
    return cells + [_ratio(item, ours, time) for item in theirs]


def _cell(item: Mapping[str, Any], name: str, form: str) -> str:
    return "failed" if "failed" in item else format(item[name], form) if item else "-"


def _ratio(above: Mapping[str, Any], below: Mapping[str, Any], name: str) -> str:
    return f"{above[name] / below[name]:.2f}" if name in above and name in below else "-"


def epoch_table(
    found: Mapping[str, Any], *, clock: str = "wall", markdown: bool = False
) -> Iterable[str]:
    """Yield the lines of the comparison of epochs, in milliseconds per image."""
    rows = [["samft, ms per image", "without a cache", "from the second epoch", "faster"]]
    for part, title in (("encoder", "encoder alone"), ("epoch", "whole training step")):
        plain, cached = (
            found[f"{method}_{part}_{CLOCKS[clock]}"] for method in ("frozen", "cached")
        )
        rows.append(
            [title, f"{1000 * plain:.1f}", f"{1000 * cached:.1f}", f"{plain / cached:.1f}x"]
        )
    yield from aligned(rows, markdown=markdown)


def heading(options: argparse.Namespace) -> str:
    """Return the line that says what was measured."""
    return (
        f"{options.arch}, {options.size} px, {options.images} images with {options.objects} boxes "
        f"each, {options.precision}, {options.device}, {options.threads} threads, "
        f"torch {options.torch}; {options.clock} time"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--arch", default="vit_b")
    parser.add_argument("--size", type=int, help="default: 1024 on a GPU, 512 on a CPU")
    parser.add_argument("--images", type=int, default=1, help="in a step")
    parser.add_argument("--objects", type=int, default=4, help="of each image")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--repeat", type=int, default=1, help="the fastest and smallest count")
    every = [*METHODS, EPOCH]
    parser.add_argument("--only", nargs="+", choices=every, default=every, metavar="METHOD")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="what is shown")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--results", type=Path, help="JSON file of results, read and written")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.size is None:
        options.size = 512 if options.device == "cpu" else 1024
    options.torch = torch.__version__
    return options


def main() -> None:
    """Run the benchmark, or one of its measurements."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.worker is not None:
        logging.disable(logging.WARNING)
        epochs = options.worker == EPOCH
        found = measure_epochs(options) if epochs else measure(case_of(options.worker), options)
        print(json.dumps(found))
        return
    results = run_all(options)
    print(heading(options))
    shown = {"clock": options.clock, "markdown": options.markdown}
    print("\n".join(table(results, **shown)))
    if EPOCH in results and "failed" not in results[EPOCH]:
        print("\n" + "\n".join(epoch_table(results[EPOCH], **shown)))


if __name__ == "__main__":
    main()
