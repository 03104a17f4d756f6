"""The command line of `python -m benchmarks.soak`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.soak import __doc__ as about
from benchmarks.soak.kills import HEADER, LEGEND, compare, row
from benchmarks.soak.mixed import soak
from benchmarks.soak.settings import SETTINGS


def table(folder: Path, *, names: Sequence[str], kills: int, seed: int) -> int:
    """Print a table, a line for each setting; return how many did not end as undisturbed."""
    print(HEADER, flush=True)
    wrong, seconds = 0, 0.0
    for number, name in enumerate(names):
        place = folder / str(number)
        result = compare(SETTINGS[name], place, kills=kills, seed=seed + number)
        print(row(result), flush=True)
        wrong += bool(result.apart)
        seconds += result.seconds
    print(f"\n{LEGEND}; {seconds / 60:.0f} minutes", flush=True)
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--kills", type=int, help="SIGKILL so often in each setting, at least 1")
    how.add_argument("--minutes", type=float, help="faults of all kinds for so long")
    parser.add_argument(
        "--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS), metavar="NAME"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="empty folder for the runs, kept afterwards")
    options = parser.parse_args(arguments)
    if options.kills is not None and options.kills < 1:
        parser.error("--kills must be at least 1")
    with TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)).absolute()
        if options.minutes is not None:
            return min(1, soak(folder, minutes=options.minutes, seed=options.seed))
        wrong = table(folder, names=options.settings, kills=options.kills, seed=options.seed)
        return min(1, wrong)


if __name__ == "__main__":
    sys.exit(main())
