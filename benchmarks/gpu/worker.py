"""Measures one case in a process of its own: `python -m benchmarks.gpu.worker TASK NAME SETUP`."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.adapted_steps import SAMFT, TRANSFORMERS
from benchmarks.gpu import ours, peer
from benchmarks.gpu.cases import GpuCase
from benchmarks.gpu.setup import Setup
from samft.errors import MachineError

MEASURE = "measure"
ESTIMATE = "estimate"


def work(task: str, case: GpuCase, setup: Setup) -> dict[str, Any]:  # Any: numbers, text
    """Return the result of a task; running out of memory is one too."""
    try:
        if task == ESTIMATE:
            return {"estimated_mb": ours.estimate(case, setup)}
        return (ours if case.program == SAMFT else peer).measure(case, setup)
    except (torch.OutOfMemoryError, MachineError) as error:
        if not _is_memory(error):
            raise
    found: dict[str, Any] = {"out_of_memory": True}
    if setup.device == "cuda":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def _is_memory(error: BaseException) -> bool:
    causes = (error, error.__cause__)
    return any(isinstance(each, torch.OutOfMemoryError) for each in causes)


def import_first(case: GpuCase) -> None:
    """Import what takes long, before the word to begin comes."""
    if case.program == TRANSFORMERS:
        import transformers

        _ = transformers.SamModel
    if "lora" in case.method:
        import peft

        _ = peft.LoraConfig


def main(arguments: Sequence[str]) -> None:
    """Wait for a line on the standard input, do the task, print the result as JSON."""
    task, name, given = arguments
    case, setup = GpuCase.of(name), Setup(**json.loads(given))
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if setup.threads:
        torch.set_num_threads(setup.threads)
    import_first(case)
    sys.stdin.readline()
    found = work(task, case, setup)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
