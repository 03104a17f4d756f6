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
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.fuzzing.fuzz import fuzz_target  # before samft, which it instruments
from benchmarks.fuzzing.keeping import keep_corpus
from benchmarks.fuzzing.registry import all_targets

_SLICE_S: Final = 300  # a process is started anew after so long: libraries leak
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (a disk would be worn out by it)


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

    Raises:
        RuntimeError: if it does not begin.
    """
    record = folder / "done.json"
    done = Done(**json.loads(record.read_text())) if record.is_file() else Done()
    folder.mkdir(parents=True, exist_ok=True)
    while done.seconds < 60 * minutes:
        wanted = max(1, round(min(_SLICE_S, 60 * minutes - done.seconds)))
        code, seconds = _in_a_process(name, folder, wanted)
        said = (folder / "log.txt").read_text(errors="replace")
        tried = re.search(r"number_of_executed_units: *(\d+)", said)
        if tried is None:
            raise RuntimeError(f"{name} did not begin: see {folder}/log.txt")
        done.seconds += seconds
        done.inputs += int(tried.group(1))
        done.crashes += code != 0
        record.write_text(json.dumps(asdict(done)))
    return done


def _in_a_process(name: str, folder: Path, seconds: int) -> tuple[int, float]:
    """Fuzz in a fork, which libFuzzer ends; return its exit code and its processor time."""
    place = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as scratch,
        (folder / "log.txt").open("wb") as log,
    ):
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            try:
                fuzz_target(name, folder, Path(scratch), seconds=seconds)
            finally:
                os._exit(70)
        _, status, usage = os.wait4(process, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def findings(folder: Path) -> list[Path]:
    """Return the inputs of a target's folder that broke a promise."""
    found = (folder / "findings").glob("*") if folder.is_dir() else []
    return sorted(path for path in found if path.suffix != ".txt")


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
            keep_corpus(name, [folder / "corpus", folder / "findings"])
        done = fuzz(name, folder, minutes=0 if options.keep else options.minutes)
        size, found = len(list((folder / "corpus").glob("*"))), len(findings(folder))
        bad += done.crashes + found
        cells = (name, f"{done.seconds / 60:.1f}", f"{done.inputs:,}", size, done.crashes, found)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return min(1, bad)


if __name__ == "__main__":
    sys.exit(main())
