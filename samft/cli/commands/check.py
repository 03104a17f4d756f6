"""`samft check`: every problem of a data set in one table, each with its fix."""

from __future__ import annotations

import argparse

from samft.cli.parser import CommandParser

DOMAINS = ("folder", "medical", "microscopy", "underwater")
_EPILOG = """\
examples:
  samft check data/
  samft check data/ --domain microscopy --preview sheet.png
  samft check data/ --config recipes/medical.yaml --image-size 1024
  samft check data/ --json > problems.json
Errors stop training or spoil it, warnings probably do, notes may. Files that did not change since
an earlier check are not read again.
Exit code: 0 without errors, 1 with errors, 2 for a mistake in the options.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft check", description=__doc__, epilog=_EPILOG)
    add = parser.add_argument
    add("dir", nargs="?", metavar="DIR", help="the data set; default: data.root of --config")
    add("--domain", choices=DOMAINS, help="kind of images (default: folder, which finds out)")
    add("-c", "--config", metavar="FILE", help="a recipe whose data settings are to be used")
    add("--layout", help="how the data lies there, as data.layout (default: found out)")
    add("--image-size", type=_positive, metavar="PIXELS", help="of training (default: the model's)")
    add(
        "--tiny",
        type=_positive,
        default=16,
        metavar="PIXELS",
        help="objects of fewer pixels at that size are tiny (default: 16)",
    )
    add(
        "--split-by",
        choices=("folders", "case"),
        default="folders",
        help="look for leaks between the folders train, val and test, or else between the splits "
        "that training would draw by case (default: folders)",
    )
    add("--workers", type=_count, metavar="N", help="processes (default: by the size of the set)")
    add("--no-cache", action="store_true", help="read every file, and remember nothing")
    add("--json", action="store_true", help="machine-readable; see docs/check.md")
    add("--all", action="store_true", help="show every finding, not the first of each kind")
    add("--preview", metavar="OUT.png", help="also draw images with masks and simulated prompts")
    add("--preview-images", type=_positive, default=8, metavar="N", help="how many (default: 8)")
    return parser


def main(argv: list[str]) -> int:
    """Check a data set, and print what is wrong with it.

    Returns:
        0, or 1 if there is an error among the findings.

    Raises:
        SamftError: if the options do not go together, or there is no such folder.
    """
    options = build_parser().parse_args(argv)
    from samft.cli.checking import check

    return check(options)


def _positive(text: str) -> int:
    return _at_least(text, 1)


def _count(text: str) -> int:
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)
