"""Fuzzes readers one after another, each in its own process, and keeps what they reached.

    pip install -c constraints.txt -e ".[fuzz]"
    python -m benchmarks.fuzzing --minutes 60 --folder OUT             # every reader, an hour each
    python -m benchmarks.fuzzing coco nifti --minutes 5 --folder OUT   # two of them
    python -m benchmarks.fuzzing --folder OUT --keep                   # OUT's corpora become tests

Time is processor time, so that a busy machine counts no waiting. An input that breaks a promise
(an exception that is not samft's, a file opened outside the folder, a program started, too much
memory) is written to `OUT/TARGET/findings` with its traceback, and the fuzzing goes on; one that
hangs or crashes the process as well, and the process is started again. The table says what was
done in all runs with the same folder. The exit code is 0 if nothing was found.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.fuzzing.corpus import keep
from benchmarks.fuzzing.registry import all_targets

_SLICE_S: Final = 300  # a process is started anew after so long: libraries leak
_LONGEST_KEPT: Final = 16_384
_MOST_KEPT: Final = 150


@dataclass(slots=True)
class Done:
    """What was done to a target, in all runs.

    Args:
        seconds: Processor time.
        inputs: How many were tried.
        crashes: How often the process ended on an input (a hang, a crash, no memory).
    """

    seconds: float = 0.0
    inputs: int = 0
    crashes: int = 0


def fuzz(name: str, folder: Path, *, minutes: float) -> Done:
    """Fuzz a target until it has had so much processor time in this folder.

    Args:
        name: Of the target.
        folder: Where its corpus, its findings and the record of what was done are.
        minutes: Of processor time, earlier runs counted in.
    """
    record = folder / "done.json"
    done = Done(**json.loads(record.read_text())) if record.is_file() else Done()
    folder.mkdir(parents=True, exist_ok=True)
    while done.seconds < 60 * minutes:
        before = _children()
        wanted = max(1, round(min(_SLICE_S, 60 * minutes - done.seconds)))
        command = [sys.executable, "-m", "benchmarks.fuzzing.fuzz", name, str(folder), str(wanted)]
        with (folder / "log.txt").open("wb") as log:
            code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        said = (folder / "log.txt").read_text(errors="replace")
        tried = re.search(r"number_of_executed_units: *(\d+)", said)
        if tried is None:
            raise RuntimeError(f"{name} did not begin: see {folder}/log.txt")
        done.seconds += _children() - before
        done.inputs += int(tried.group(1))
        done.crashes += code != 0
        record.write_text(json.dumps(asdict(done)))
    return done


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def findings(folder: Path) -> list[Path]:
    """Return the inputs of a target's folder that broke a promise."""
    found = (folder / "findings").glob("*") if folder.is_dir() else []
    return sorted(path for path in found if path.suffix != ".txt")


def keep_corpus(name: str, folder: Path) -> int:
    """Make a test of the corpus of a target: of the inputs that reach most, the short ones.

    Args:
        name: Of the target.
        folder: Its folder; its corpus is merged into `minimal` first.

    Returns:
        How many inputs are kept.
    """
    minimal = folder / "minimal"
    minimal.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.fuzzing.fuzz", name, str(folder), "merge"]
    with (folder / "merge.txt").open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)
    inputs = sorted((path.read_bytes() for path in minimal.iterdir()), key=len)
    chosen = [data for data in inputs if len(data) <= _LONGEST_KEPT]
    step = max(1, -(-len(chosen) // _MOST_KEPT))
    return keep(name, [*chosen[::step], *(path.read_bytes() for path in findings(folder))])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help="all if none is named")
    parser.add_argument("--minutes", type=float, default=60.0, help="per target, in all")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--keep", action="store_true", help="write the corpora into tests/")
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - set(all_targets())
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; {', '.join(all_targets())}")
    print("| reader | minutes | inputs | corpus | hangs, crashes | findings |\n" + "|---" * 6 + "|")
    bad = 0
    for name in options.targets or all_targets():
        folder = options.folder / name
        if options.keep:
            keep_corpus(name, folder)
        done = fuzz(name, folder, minutes=0 if options.keep else options.minutes)
        size, found = len(list((folder / "corpus").iterdir())), len(findings(folder))
        bad += done.crashes + found
        cells = (name, f"{done.seconds / 60:.1f}", f"{done.inputs:,}", size, done.crashes, found)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return min(1, bad)


if __name__ == "__main__":
    sys.exit(main())
