"""Measures fine-tuning on a GPU: steps per second and peak memory, beside `transformers` + peft.

    python -m benchmarks.gpu --out gpu.jsonl                    # ViT-B, L, H at 1024 px in bf16
    python -m benchmarks.gpu --out gpu.jsonl --minutes 10       # goes on where it stopped before
    python -m benchmarks.gpu --out gpu.jsonl --estimate         # adds the planner's estimates
    python -m benchmarks.gpu --table gpu.jsonl > gpu.md         # shows what is known
    python -m benchmarks.gpu --device cpu --size 64 --arch vit_dry vit_nano --images 1 --steps 1

The last is a dry run without a GPU; `vit_dry` is a small model for it, which both programs can be.

Every row is measured in a process of its own, on one drawn batch that lies on the device: frozen
encoder, LoRA, late LoRA and full training, plain, with checkpointing, compiled and with FSDP2 in
one rank. Rows that both programs can do have one decoder pass with the same boxes, loss, optimiser
and trained weights; samft's go through Lightning's trainer, the peer's through a plain loop.
samft's own training step, of eleven passes, has rows of its own, and so have embeddings that are
read from samft's store, a decoder without an encoder, and the callback that looks for numbers that
are none.

The most telling rows come first; `--minutes` leaves out the last ones. A row that runs out of
memory or breaks is a result like others; `--again` measures those once more.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.adapted_steps import PROGRAMS, SAMFT, TRANSFORMERS
from benchmarks.gpu.cases import ARCHITECTURES, EVERY, WAYS, GpuCase, plan
from benchmarks.gpu.ours import can_estimate
from benchmarks.gpu.processes import Worker
from benchmarks.gpu.rows import RowFile, is_measured
from benchmarks.gpu.setup import Setup
from benchmarks.gpu.table import report
from benchmarks.gpu.worker import ESTIMATE, MEASURE
from benchmarks.results import Result

_SHORTEST_S: Final = 20.0
"""Less time is not worth beginning a row in."""


class Budget:
    """The time a call may take.

    Args:
        minutes: Of all rows; `None` for no end.
        per_row: Most seconds of one row.
    """

    def __init__(self, minutes: float | None, *, per_row: float) -> None:
        self._end = float("inf") if minutes is None else time.monotonic() + 60 * minutes
        self._per_row = per_row

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._end - time.monotonic()

    @property
    def is_spent(self) -> bool:
        """Whether no row should be begun any more."""
        return self.left < _SHORTEST_S

    def for_row(self) -> tuple[float, bool]:
        """Return the seconds of the next row, and whether it is the call's end that limits them."""
        return min(self._per_row, self.left), self.left < self._per_row


def run_all(chosen: Sequence[GpuCase], setup: Setup, rows: RowFile, options: Any) -> list[str]:
    """Measure or estimate what has no result yet, and note each result at once.

    Returns:
        The names of what there was no time for.
    """
    task = ESTIMATE if options.estimate else MEASURE
    budget = Budget(options.minutes, per_row=options.row_seconds)
    left = list(chosen)
    ready: Worker | None = None
    try:
        while left and not budget.is_spent:
            worker = ready or Worker(left[0], setup, task=task)
            ahead = options.ahead and len(left) > 1
            ready = Worker(left[1], setup, task=task) if ahead else None
            seconds, is_last = budget.for_row()
            found = worker.run(seconds)
            if found is None and is_last:
                break
            _note(rows, left.pop(0).name, found or {"failed": f"no end after {seconds:.0f} s"})
    finally:
        if ready is not None:
            ready.end()
    return [case.name for case in left]


def wanted(options: argparse.Namespace, rows: RowFile) -> list[GpuCase]:
    """Return the cases that are asked for and have no result yet."""
    cases = [case for case in plan(options.arch, options.images) if _is_chosen(case, options)]
    if options.estimate:
        known = rows.rows
        measured = [
            case for case in cases if can_estimate(case) and is_measured(known.get(case.name))
        ]
        return [case for case in measured if "estimated_mb" not in known[case.name]]
    return [case for case in cases if not _is_done(rows.rows.get(case.name), again=options.again)]


def _is_chosen(case: GpuCase, options: argparse.Namespace) -> bool:
    chosen = case.program in options.programs and case.way in options.ways
    return chosen and any(part in case.name for part in options.only or [""])


def _is_done(row: Result | None, *, again: bool) -> bool:
    return is_measured(row) and not (again and row is not None and "steps_per_s" not in row)


def _note(rows: RowFile, name: str, found: Result) -> None:
    if "failed" in found and "estimated_mb" not in found and is_measured(rows.rows.get(name)):
        print(f"{name}: {found['failed']}", file=sys.stderr, flush=True)
        return  # of an estimate, or of a row measured again: what is known stays
    rows.add(name, found)
    print(f"{name}: {found}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--arch", nargs="+", choices=list(EVERY), default=list(ARCHITECTURES), metavar="ARCH")
    add("--images", type=int, nargs="+", default=[1, 4], help="of a step, one size after another")
    add("--objects", type=int, default=8, help="of each image")
    add("--size", type=int, default=1024, help="side of the images")
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--precision", choices=["bf16-mixed", "32-true"], default="bf16-mixed")
    add("--warm-up", type=int, default=3, help="steps that are not timed; 2 or more")
    add("--steps", type=int, default=60, help="steps that are timed, at most")
    add("--seconds", type=float, default=4.0, help="time for these, about")
    add("--threads", type=int, default=0, help="of each process; 0 leaves it to PyTorch")
    add("--programs", nargs="+", choices=PROGRAMS[:2], default=[SAMFT, TRANSFORMERS])
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    add("--only", nargs="+", metavar="TEXT", help="rows with one of these in their name")
    add("--minutes", type=float, help="leave out what would come later")
    add("--row-seconds", type=float, default=240.0, help="most for one row")
    add("--ahead", action="store_true", help="start a row's process while the one before is timed")
    add("--out", type=Path, help="file of results, read and added to")
    add("--again", action="store_true", help="measure rows once more that have failed")
    add("--estimate", action="store_true", help="only add the planner's estimates; needs no GPU")
    add("--table", type=Path, metavar="FILE", help="only show the results of a file")
    add("--list", action="store_true", help="only say which rows would be measured")
    options = parser.parse_args(arguments)
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if options.warm_up < 2 or min(options.steps, options.objects, *options.images) < 1:
        parser.error("--warm-up must be 2 or more; --steps, --objects and --images 1 or more")
    if options.estimate and options.out is None:
        parser.error("--estimate needs the results of --out")
    silent = options.table or options.estimate or options.list
    if options.device == "cuda" and not silent and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu --size 64 --arch vit_dry is a dry run")


def _opened(options: argparse.Namespace) -> tuple[RowFile, Setup]:
    """Return the file of results and the setup; the estimates' is that of what was measured."""
    if not options.estimate:
        setup = Setup.of(options)
        facts = {} if options.list else setup.facts()
        return RowFile(None if options.list else options.out, facts), setup
    rows = RowFile(options.out)
    return rows, Setup.of(argparse.Namespace(**rows.facts))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or show what was measured."""
    options = parse(arguments)
    if options.table:
        rows = RowFile(options.table)
        print("\n".join(report(rows.rows, rows.facts)))
        return
    rows, setup = _opened(options)
    chosen = wanted(options, rows)
    if options.list:
        print("\n".join(case.name for case in chosen))
        return
    skipped = run_all(chosen, setup, rows, options)
    print("\n".join(report(rows.rows, rows.facts)))
    if skipped:
        print(f"\nNo time was left for {len(skipped)} rows: {', '.join(skipped)}")


if __name__ == "__main__":
    main()
