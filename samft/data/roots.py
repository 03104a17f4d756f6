"""Where the data lies, and that nothing leads out of it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from samft.errors import ConfigError, DatasetError, DependencyError, did_you_mean

_PACKAGE_PREFIX = "package:"


def resolve_root(root: str) -> Path:
    """Return the absolute folder that `root` names.

    Args:
        root: A path, absolute, relative or with `~`; or `package:NAME/FOLDER`, files that come with
            an installed Python package, such as `package:slicerio/data`.

    Raises:
        DatasetError: if it is no folder.
        DependencyError: if the package is not installed.
    """
    if root.startswith(_PACKAGE_PREFIX):
        return _package_folder(root)
    path = Path(root).expanduser().resolve()
    if path.is_dir():
        return path
    if path.is_file():
        raise DatasetError(
            "the data root is a file, not a folder",
            where=path,
            expected="the folder that holds the images",
            fix=f"set data.root to {path.parent}",
        )
    siblings = _folders_beside(path)
    raise DatasetError(
        "the data folder does not exist",
        where=path,
        found=f"in {path.parent}: {', '.join(siblings[:5]) or 'no folders'}"
        if path.parent.is_dir()
        else f"{_deepest(path)} is the last part that exists",
        fix=_hint(path, siblings),
    )


def inside_root(root: Path, name: str) -> Path | None:
    """Return `root / name` if it stays inside `root`, or else `None`.

    For names that come out of a file (a table, an annotation): absolute names, `..`, drive letters,
    and symbolic links that lead elsewhere give `None`.

    Args:
        root: An absolute, resolved folder.
        name: A relative name with forward slashes or backslashes.
    """
    if not name or "\0" in name or ":" in name or name.startswith(("/", "\\")):
        return None
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        return None
    candidate = root.joinpath(*parts)
    return candidate if stays_inside(root, candidate) else None


def stays_inside(root: Path, path: Path) -> bool:
    """Tell whether `path`, with every symbolic link followed, lies in `root`.

    Links that lead in a circle, and names that no file can have, lie nowhere.
    """
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def _package_folder(root: str) -> Path:
    name, _, folder = root.removeprefix(_PACKAGE_PREFIX).replace("\\", "/").partition("/")
    if not name.isidentifier():
        raise ConfigError(
            "the data root names no package",
            where="data.root",
            found=root,
            expected="package:NAME/FOLDER, such as package:slicerio/data",
        )
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise DependencyError(
            f"the package {name!r} that carries the data is not installed",
            where=f"data.root {root}",
            found=f"Python at {sys.prefix}",
            fix='pip install "samft[examples]"',
        )
    base = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = inside_root(base, folder) if folder else base
    if path is None or not path.is_dir():
        raise DatasetError(
            f"the package {name!r} has no such folder",
            where=f"data.root {root}",
            found=", ".join(_folders_in(base)) or "no folders",
            expected="a folder inside the package",
        )
    return path


def _folders_beside(path: Path) -> list[str]:
    return _folders_in(path.parent) if path.parent.is_dir() else []


def _folders_in(path: Path) -> list[str]:
    return sorted(
        p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "_"))
    )


def _deepest(path: Path) -> Path:
    return next(parent for parent in path.parents if parent.is_dir())


def _hint(path: Path, siblings: list[str]) -> str:
    hint = did_you_mean(path.name, siblings)
    if hint.startswith("did you mean"):
        return hint.partition("?")[0] + "?"
    return "set data.root to the folder that holds the images"
