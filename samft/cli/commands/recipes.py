"""`samft recipes`: list, show and copy the recipes that come with samft."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from samft.cli.packaged import packaged
from samft.errors import ConfigError, OutputError, did_you_mean


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message, where="samft recipes", fix="samft recipes --help")


def main(argv: list[str]) -> int:
    """List, show or copy recipes."""
    parser = _Parser(prog="samft recipes", description=__doc__, allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    actions.add_parser("ls", help="list all recipes with what each is for")
    actions.add_parser("show", help="print a recipe").add_argument("name")
    copy = actions.add_parser("copy", help="copy a recipe to change it")
    copy.add_argument("name")
    copy.add_argument("to", nargs="?", default=".", help="file or folder (default: here)")
    options = parser.parse_args(argv)
    if options.action == "show":
        print(find_recipe(options.name).read_text(encoding="utf-8"), end="")
    elif options.action == "copy":
        print(f"copied to {copy_recipe(find_recipe(options.name), Path(options.to))}")
    else:
        for path in recipe_files():
            print(f"{path.stem:<14}{headline(path)}")
    return 0


def recipe_files() -> list[Path]:
    """Return the packaged recipes, sorted by name."""
    return sorted(packaged("recipes").glob("*.yaml"))


def headline(path: Path) -> str:
    """Return the first comment line of a recipe: what it is for."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("#").strip()


def find_recipe(name: str) -> Path:
    """Return the recipe of that name, with or without `.yaml`.

    Raises:
        ConfigError: if there is none.
    """
    known = {path.stem: path for path in recipe_files()}
    stem = Path(name).stem
    if stem not in known:
        raise ConfigError(f"no recipe named {name!r}", fix=did_you_mean(stem, known))
    return known[stem]


def copy_recipe(recipe: Path, target: Path) -> Path:
    """Copy a recipe to a file or into a folder, without replacing anything.

    Raises:
        OutputError: if the target exists.
    """
    path = target / recipe.name if target.is_dir() else target
    if path.exists():
        raise OutputError("file exists", where=path, fix="give another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(recipe.read_text(encoding="utf-8"), encoding="utf-8")
    return path
