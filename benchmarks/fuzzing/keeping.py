"""Which inputs of a corpus become tests."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.fuzzing.corpus import KEPT, keep
from benchmarks.fuzzing.registry import find_target
from benchmarks.fuzzing.target import LARGEST_FILE, run_input

_LONGEST: Final = 65_536
_PER_OUTCOME: Final = 2
_MOST: Final = 60


def keep_corpus(name: str, folders: Iterable[Path], kept: Path = KEPT) -> int:
    """Keep the shortest inputs for everything that a reader says of its inputs.

    Args:
        name: Of the target.
        folders: Where the inputs are; tracebacks beside them (`.txt`) are none.
        kept: Where the archives of the tests are.

    Returns:
        How many are kept.

    Raises:
        Finding: if an input breaks a promise: what is not mended cannot become a test.
    """
    os.environ["SAMFT_MAX_BYTES"] = str(LARGEST_FILE)
    logging.disable(logging.CRITICAL)
    paths = [path for folder in folders for path in folder.glob("*") if path.suffix != ".txt"]
    inputs = sorted({path.read_bytes() for path in paths}, key=lambda data: (len(data), data))
    target, by_outcome = find_target(name), defaultdict[str, list[bytes]](list)
    for data in inputs:
        if len(data) <= _LONGEST:
            with tempfile.TemporaryDirectory() as scratch:
                outcome = run_input(target, data, Path(scratch))
            by_outcome[re.sub(r"\d+", "#", outcome)].append(data)
    chosen = [data[:_PER_OUTCOME] for data in by_outcome.values()]
    firsts = [each[0] for each in chosen]
    others = [data for each in chosen for data in each[1:]]
    return keep(name, [*firsts, *others][:_MOST], kept)
