"""What every reader does before it believes a file: limits, and errors that name the file."""

from __future__ import annotations

import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from samft.errors import ConfigError, DatasetError, SamftError

DEFAULT_MAX_BYTES = 2 * 1024**3
"""Largest decoded image or volume, bytes; the environment variable SAMFT_MAX_BYTES changes it."""

# What Pillow, tifffile, nibabel, pynrrd and the decompressors were seen to raise on damaged files.
PARSE_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def max_bytes() -> int:
    """Return how many bytes one decoded file may take.

    Raises:
        ConfigError: if SAMFT_MAX_BYTES is not a positive whole number.
    """
    text = os.environ.get("SAMFT_MAX_BYTES", "").strip()
    if not text:
        return DEFAULT_MAX_BYTES
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(
            "the size limit is not a number of bytes",
            where="environment variable SAMFT_MAX_BYTES",
            found=repr(text),
            expected=f"a positive whole number, such as {DEFAULT_MAX_BYTES}",
        )
    return int(text)


def check_declared_size(path: Path, shape: Sequence[int], itemsize: int) -> None:
    """Refuse a file whose header announces more than `max_bytes`, before anything is allocated.

    Args:
        path: The file, for the message.
        shape: Number of values along each axis, as the header states.
        itemsize: Bytes per value.

    Raises:
        DatasetError: if an axis is empty or negative, or the whole is too large.
    """
    if not shape or min(shape) < 1:
        raise DatasetError(
            "the header states an impossible size",
            where=path,
            found=" x ".join(map(str, shape)) or "no axes",
            expected="at least one value along each axis",
        )
    declared, limit = math.prod(shape) * itemsize, max_bytes()
    if declared > limit:
        raise DatasetError(
            "the file would take more memory than allowed",
            where=path,
            found=f"{' x '.join(map(str, shape))} values, {_gigabytes(declared)}",
            expected=f"at most {_gigabytes(limit)}",
            fix="if the file is what it should be, set SAMFT_MAX_BYTES to a larger number of bytes",
        )


def check_file_size(path: Path) -> None:
    """Refuse a file that is larger than `max_bytes`, before all of it is read.

    Args:
        path: An existing file.

    Raises:
        DatasetError: if it is larger.
    """
    check_declared_size(path, (max(1, path.stat().st_size),), 1)


@contextmanager
def reading(
    path: Path, expected: str, *, also: tuple[type[Exception], ...] = (), quote: bool = True
) -> Iterator[None]:
    """Turn whatever a parser raises inside the block into a `DatasetError` about `path`.

    Args:
        path: The file being read.
        expected: What it should have been, such as `a NIfTI volume`.
        also: The parser's own exceptions.
        quote: Whether the parser's words may be repeated; those about patient data may not.

    Raises:
        DatasetError: in place of the parser's exception.
    """
    parse_errors: tuple[type[Exception], ...] = (*PARSE_ERRORS, *also)
    try:
        _refuse_special(path, expected)
        yield
    except SamftError:
        raise
    except FileNotFoundError as error:
        raise DatasetError("the file does not exist", where=path, expected=expected) from error
    except PermissionError as error:
        raise DatasetError(
            "the file may not be read", where=path, fix="check its permissions"
        ) from error
    except parse_errors as error:
        if not quote:
            raise unreadable(path, type(error).__name__, expected) from None
        raise unreadable(path, _one_line(error), expected) from error


def is_special(path: Path) -> bool:
    """Tell whether a path is a pipe, a device or a socket: whoever opens it may wait for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False  # said where it is opened
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _refuse_special(path: Path, expected: str) -> None:
    if is_special(path):
        raise unreadable(path, "a pipe, a device or a socket", expected)


def unreadable(path: Path, found: str, expected: str) -> DatasetError:
    """Return the error for a damaged or foreign file."""
    return DatasetError(
        "the file cannot be read",
        where=path,
        found=found,
        expected=expected,
        fix="copy it again from its source, or take it out of the data set",
    )


def stored_size(path: Path, start: int = 0) -> int:
    """Return how many bytes lie from `start` to the end of a file.

    Of a gzip stream, what it says its content's size is, modulo 4 GiB: nothing is unpacked.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(start)
        if file.read(2) != b"\x1f\x8b" or size - start < 8:
            return size - start
        file.seek(size - 4)
        return int.from_bytes(file.read(4), "little")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 100 else text[:97] + "..."


def _gigabytes(count: int) -> str:
    return f"{count / 1024**3:.2f} GB"
