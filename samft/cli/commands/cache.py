"""`samft cache`: store embeddings, list what is stored and how much room it takes, delete it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from samft.cli.parser import CommandParser

if TYPE_CHECKING:
    from samft.embeddings.folders import StoreInfo

_EPILOG = """\
examples:
  samft cache build --config recipes/medical.yaml --data.root DIR     with the options of fit
  samft cache info                          one row for each encoder that embeddings were stored of
  samft cache clear 3f0c9a7712be04d5        delete one
  samft cache clear --older_than 30         delete what was not used for 30 days
  samft cache clear --all
Embeddings are stored by samft fit with --model.cache_embeddings float16.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = CommandParser("samft cache", description=__doc__, epilog=_EPILOG)
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|info|clear")
    info = actions.add_parser("info", help="list the stores")
    clear = actions.add_parser("clear", help="delete stores")
    which = clear.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", help="of one store, as info shows it")
    which.add_argument("--older_than", type=float, metavar="DAYS", help="not used for so long")
    which.add_argument("--all", action="store_true", help="every store")
    for action in (info, clear):
        action.add_argument("--root", type=Path, help="folder of the stores")
        action.add_argument("--json", action="store_true", help="machine-readable")
    return parser


def main(argv: list[str]) -> int:
    """Build, list or delete stores.

    Raises:
        SamftError: if there is no such store, or it cannot be deleted.
    """
    if argv[:1] == ["build"]:  # its options are Lightning's
        from samft.cli.cache_build import main as build

        return build(argv[1:])
    options = build_parser().parse_args(argv)
    from samft.embeddings import folders

    root = options.root or folders.embeddings_dir()
    if options.action == "info":
        _show(folders.info(root), root, as_json=options.json)
        return 0
    age = None if options.older_than is None else timedelta(days=options.older_than)
    deleted = folders.clear(root, name=options.name, older_than=age)
    freed = sum(store.num_bytes for store in deleted)
    if options.json:
        print(json.dumps({"deleted": [store.name for store in deleted], "bytes": freed}))
    else:
        print(f"deleted {len(deleted)}, {freed / 1e9:.2f} GB")
    return 0


def _show(stores: Sequence[StoreInfo], root: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_row(store) for store in stores]))
        return
    if not stores:
        print(f"no embeddings are stored in {root}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(root), title_justify="left")
    for column in ("name", "arch", "what", "type", "shapes", "entries", "GB", "used"):
        table.add_column(column, no_wrap=column == "name")
    for store in stores:
        row = _row(store)
        table.add_row(
            *(str(row[key]) for key in ("name", "arch", "what", "dtype", "shapes", "entries")),
            f"{store.num_bytes / 1e9:.2f}",
            str(row["used"])[:10],
        )
    Console().print(table)


def _row(store: StoreInfo) -> dict[str, object]:
    return {
        "name": store.name,
        "arch": store.arch,
        "what": store.what,
        "dtype": store.dtype,
        "shapes": [list(shape) for shape in store.shapes],
        "entries": store.num_entries,
        "bytes": store.num_bytes,
        "created": store.created.isoformat(),
        "used": store.used.isoformat(),
    }
