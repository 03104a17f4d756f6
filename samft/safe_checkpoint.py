"""Checkpoints on disk: written whole or not at all, and proven readable before they count."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final
from zipfile import ZIP_STORED, ZipFile

import torch

from samft.errors import CheckpointError
from samft.models.torch_file import ZIP_ERRORS

_PART: Final = ".part"


def save_safely(content: object, path: Path) -> None:
    """Write `content` with `torch.save` so that `path` is always the old file or the whole new one.

    It goes to another name in the same folder, is flushed to the disk, read back and compared with
    its checksums, and only then takes the name.

    Args:
        content: Tensors and plain data.
        path: The file.

    Raises:
        OSError: if the disk is full or cannot be written; `path` is as it was.
        CheckpointError: if what was written cannot be read back; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _part(path)
    try:
        _write(content, part)
        check_archive(part)
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    _flush_folder(path.parent)


def check_archive(path: Path) -> None:
    """Read a file of `torch.save` and compare every part of it with the checksum stored beside it.

    The list of parts is at the end of the file, so that one that is cut short has none.

    Raises:
        CheckpointError: if it is cut short or damaged.
    """
    try:
        with ZipFile(path) as archive:
            _check_sizes(archive, path)
            damaged = archive.testzip()
    except ZIP_ERRORS as error:
        raise CheckpointError(
            "the checkpoint is cut short or damaged", where=path, found=_first_line(error)
        ) from error
    if damaged is not None:
        raise CheckpointError(
            "the checkpoint is damaged", where=path, found=f"a wrong checksum of {damaged}"
        )


def _check_sizes(archive: ZipFile, path: Path) -> None:
    """Refuse what would unpack to more than there is: `torch.save` packs nothing."""
    members = archive.infolist()
    packed = [member.filename for member in members if member.compress_type != ZIP_STORED]
    if packed or sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError("parts that are packed, or larger than the file")


def first_readable(paths: Iterable[Path]) -> tuple[Path | None, list[CheckpointError]]:
    """Return the first of some checkpoints that is whole, and what is wrong with those before it.

    Args:
        paths: From the newest to the oldest; those that do not exist are passed over.
    """
    problems = []
    for path in paths:
        if not path.is_file():
            continue
        try:
            check_archive(path)
        except CheckpointError as error:
            problems.append(error)
        else:
            return path, problems
    return None, problems


def remove_leftovers(folder: Path) -> int:
    """Delete what a killed process left half-written; return how many files that were."""
    leftovers = [path for path in folder.glob(f".*{_PART}") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


class _Watched:
    """A file for `torch.save`, which hides what went wrong with the disk behind its own error."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:  # Any: whatever has bytes
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._file.flush()


def _write(content: object, part: Path) -> None:
    with part.open("wb") as file:
        watched = _Watched(file)
        try:
            torch.save(content, watched)  # type: ignore[arg-type]  # it needs no more than this
        except Exception:
            if watched.error is not None:
                raise watched.error from None
            raise
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # so that reading back asks the disk, not the memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _flush_folder(folder: Path) -> None:
    """Make a renaming survive a power cut, where the system can."""
    with suppress(OSError):  # Windows and some network drives cannot open folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PART}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
