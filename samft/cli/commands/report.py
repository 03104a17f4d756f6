"""`samft report`: what a training changed, in one file that opens anywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from samft.cli.parser import CommandParser

_EPILOG = """\
examples:
  samft report runs/medical/0
  samft report runs/medical/0 --results runs/medical/0/other_hospital --out for_the_board
  samft report results/                            results of samft test without a run
Written are report.html (one file, no network, printable), report.md, metrics.json and
model_card.md. Images are called by a hash of their names and folders are left out;
--keep-names shows them. Without results of samft test the report shows the training alone.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft report", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("run", type=Path, help="run folder, .ckpt file, or a folder of test results")
    add("--results", type=Path, metavar="DIR", help="of samft test (default: test in RUN)")
    add("--out", type=Path, metavar="DIR", help="where to write (default: RUN)")
    add("--which", choices=["best", "last"], default="best", help="checkpoint of a run folder")
    add("--keep-names", action="store_true", help="show ids, folders and users as they are")
    return parser


def main(argv: list[str]) -> int:
    """Write the report, and print its verdict.

    Raises:
        SamftError: if the run or its results cannot be read, or the report cannot be written.
    """
    options = build_parser().parse_args(argv)
    from samft.evaluation.report.building import CARD_FILE, build_report

    written = build_report(
        options.run,
        results=options.results,
        out=options.out,
        which=options.which,
        keep_names=options.keep_names,
    )
    print(f"verdict     {written.report.headline}")
    for warning in written.report.warnings:
        print(f"warning     {warning}")
    for path in written.files:
        print(f"written     {path} ({_size(path)})")
    if written.kept_card:
        print(f"kept        {CARD_FILE}, because somebody edited it")
    return 0


def _size(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"
