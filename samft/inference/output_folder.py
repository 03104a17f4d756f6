"""The folder that results go to: nothing outside it is written, and nothing by halves."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from samft.data.roots import stays_inside
from samft.errors import MachineError, OutputError

_PART = ".part"
_DRIVE = re.compile(r"[A-Za-z]:")


class OutputFolder:
    """Places for results below one folder, by the names of the images they belong to.

    Args:
        root: The folder; made when something is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, kind: str, name: str, suffix: str = "") -> Path:
        """Return where a result belongs.

        Args:
            kind: Folder below the root, such as `labels`.
            name: Name of the image or volume, a relative path.
            suffix: What is added to it.

        Raises:
            OutputError: if the name would lead out of the folder.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        unsafe = path.is_absolute() or ".." in path.parts or not path.name or "\0" in name
        target = self.root / kind / path.parent / f"{path.name}{suffix}"
        if unsafe or _DRIVE.match(name) or not self._holds(target):
            raise OutputError(
                "an image's name would be written outside the output folder",
                where=name,
                fix="rename the image",
            )
        return target

    def write(self, place: Path, fill: Callable[[Path], object]) -> Path:
        """Let `fill` write to `place`, whole or not at all; see `write_atomically`."""
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, fill)
        return place

    def relative(self, place: Path) -> str:
        """Return a place as a path below the folder, with forward slashes."""
        return place.relative_to(self.root).as_posix()

    def remove(self, name: str) -> None:
        """Delete a result by its relative path, and the folders that it leaves empty."""
        path = self.root / name
        if ".." in PurePosixPath(name).parts or not self._holds(path):
            return  # a journal that somebody wrote by hand must not delete other files
        if not os.path.lexists(path):  # nor is every text in it a name that a file can have
            return
        _delete(path)
        for folder in path.parents:
            if folder == self.root or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()

    def remove_half(self, place: Path) -> None:
        """Delete what a killed process left of one file."""
        _delete(_half(place))

    def remove_halves(self) -> None:
        """Delete what a killed process left half-written."""
        for path in list(self.root.rglob(f".*{_PART}")):
            _delete(path)

    def _holds(self, path: Path) -> bool:
        # The folder itself may be a link; what lies in it may not lead out.
        return stays_inside(self.root, path.parent)


def refuse_to_overwrite(out: Path, *, overwrite: bool) -> None:
    """Raise unless `out` can take new results.

    Raises:
        OutputError: if `out` is a file, or holds files and `overwrite` is false.
    """
    if out.exists() and not out.is_dir():
        raise OutputError("the output folder is a file", where=out, fix="choose another --out")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise OutputError(
            "the output folder is not empty",
            where=out,
            fix="choose another --out, or add --overwrite to replace what is there",
        )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file or folder beside `path`, then rename it: nothing by halves.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    temporary = _half(path)
    try:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        write(temporary)
        if path.is_dir():  # a folder cannot be renamed over another
            shutil.rmtree(path)
        temporary.replace(path)
    except OSError as error:
        raise MachineError(
            "a result could not be written", where=path, found=error.strerror or error
        ) from error
    finally:
        _delete(temporary)


def _half(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PART}")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
