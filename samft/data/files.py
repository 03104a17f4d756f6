"""Which files a data set has, found by pattern or by name, never outside its root."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path

from samft.data.readers.image import IMAGE_SUFFIXES
from samft.data.readers.volumes import VOLUME_SUFFIXES
from samft.data.roots import stays_inside
from samft.errors import ConfigError, DatasetError

SUFFIXES = (*sorted(IMAGE_SUFFIXES), *VOLUME_SUFFIXES)
_LONG = (".seg.nrrd", ".ome.tif", ".ome.tiff", ".ome.btf", ".ome.tf2", ".ome.tf8")
_SHOWN = 3


def list_files(root: Path) -> list[Path]:
    """Return every image and volume file below `root`, sorted; hidden ones are left out.

    Raises:
        DatasetError: if a symbolic link leads out of `root`.
    """
    found = [
        Path(folder, name)
        for folder, folders, names in os.walk(root)
        if _keep_visible(folders)
        for name in names
        if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    ]
    return _checked(root, found)


def match_files(root: Path, pattern: str, *, setting: str) -> list[Path]:
    """Return the files that a glob pattern matches, sorted.

    Args:
        root: The data root.
        pattern: Relative to `root`; `*` within a name, `**` across folders.
        setting: The setting the pattern comes from, such as `data.images`.

    Raises:
        ConfigError: if the pattern is absolute or climbs out of `root`.
        DatasetError: if nothing matches, or a symbolic link leads out of `root`.
    """
    parts = Path(pattern).parts
    if not parts or Path(pattern).is_absolute() or ".." in parts:
        raise ConfigError(
            "the pattern does not stay below the data root",
            where=setting,
            found=repr(pattern),
            expected="a relative pattern such as images/*.png",
        )
    found = [p for p in root.glob(pattern) if p.is_file() and not p.name.startswith(".")]
    if not found:
        raise DatasetError(
            "no file matches the pattern",
            where=root / pattern,
            found=describe_contents(root),
            fix=f"change {setting} or data.root",
        )
    return _checked(root, found)


def relative_name(root: Path, path: Path) -> str:
    """Return the path below `root` with forward slashes."""
    return path.relative_to(root).as_posix()


def stem_of(path: Path) -> str:
    """Return a file's name without its format's ending: `a` of `a.nii.gz`, `b` of `b.ome.tif`."""
    lower = path.name.lower()
    ending = max((e for e in (*SUFFIXES, *_LONG) if lower.endswith(e)), key=len, default="")
    return path.name[: len(path.name) - len(ending)]


def describe_contents(root: Path) -> str:
    """Say in a few words what lies in `root`, for messages about what does not."""
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in islice(root.iterdir(), 1000))
    shown = [name for name in names if not name.startswith(".")]
    more = f" and {len(shown) - _SHOWN - 1} more" if len(shown) > _SHOWN + 1 else ""
    return f"there: {', '.join(shown[: _SHOWN + 1])}{more}" if shown else "the folder is empty"


def name_some(root: Path, paths: Collection[Path]) -> str:
    """Return the first few names below `root` and the count of all."""
    names: Iterable[str] = (relative_name(root, path) for path in islice(sorted(paths), _SHOWN))
    rest = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(names) + rest


def _keep_visible(folders: list[str]) -> bool:
    # os.walk goes on with what is left in the list, in this order.
    # The thousands of chunks of an array are not files of their own.
    folders[:] = sorted(n for n in folders if not n.startswith(".") and not n.endswith(".zarr"))
    return True


def _checked(root: Path, found: Sequence[Path]) -> list[Path]:
    for path in found:
        if not stays_inside(root, path):
            raise DatasetError(
                "a symbolic link leads out of the data folder",
                where=path,
                found=f"it points to {path.resolve()}",
                expected=f"a file below {root}",
                fix="copy the file, or set data.root to a folder that holds both",
            )
    return sorted(found)
