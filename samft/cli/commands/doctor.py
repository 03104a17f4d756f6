"""`samft doctor`: does samft work on this machine, and what would make it work better?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from samft.cli.parser import CommandParser

_EPILOG = """\
examples:
  samft doctor                              what to paste into a question or a report
  samft doctor --json > machine.json
  samft doctor --run runs/medical/0         also: can its checkpoints be read?
  samft doctor --data data/spleen           also: how would that folder be read?
Looks at packages, devices, disks and limits, hashes the weights that are here, and trains a tiny
model for three seconds. Nothing is sent anywhere; the output names neither user nor machine.
Exit code: 0 without errors, 1 with errors, 2 for a mistake in the options.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft doctor", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("--json", action="store_true", help="machine-readable; see docs/doctor.md")
    add("--run", type=Path, metavar="RUN", help="also look at a run folder or .ckpt file")
    add("--data", type=Path, metavar="DIR", help="also look at a data folder")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of the runs")
    add("--keep_names", action="store_true", help="leave the names of user, home and machine in")
    return parser


def main(argv: list[str]) -> int:
    """Look at everything and print what was found.

    Returns:
        0, or 1 if there is an error among the findings.
    """
    options = build_parser().parse_args(argv)
    from samft.diagnosis.checkup import examine

    diagnosis = examine(
        runs=options.runs, run=options.run, data=options.data, keep_names=options.keep_names
    )
    if options.json:
        print(json.dumps(diagnosis.to_dict(), indent=1))
    else:
        from samft.cli.doctor_report import show

        show(diagnosis)
    return 1 if diagnosis.status == "error" else 0
