"""A column of many strings, such as the names of a data set's files, in few bytes each."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_MAX_WRAPS: Final = 2**16 - 1
_MAX_SUFFIX: Final = 6
_ROWS_AT_ONCE: Final = 2**16
_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # odd; any odd number makes a hash


class Wrap(NamedTuple):
    """What many strings of a column have in common.

    Args:
        prefix: Their beginning: the folder.
        suffix: Their end: the ending of the file's name.
        shared: Whether what stands between is that of the string of the leading column.
        missing: Whether there is no string at all.
    """

    prefix: str
    suffix: str
    shared: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TextColumn:
    """n strings: each is a wrap, and in it a stem of its own or that of another column.

    Args:
        wraps: The different wraps.
        codes: (n,) whole numbers, the wrap of each string.
        blob: uint8, the stems one behind the other in UTF-8.
        ends: (n + 1,) whole numbers, where the stems begin and end; empty if there are none.
        leading: The column whose stems others share.
    """

    wraps: tuple[Wrap, ...]
    codes: NDArray[Any]
    blob: NDArray[np.uint8]
    ends: NDArray[Any]
    leading: TextColumn | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def get(self, row: int) -> str | None:
        """Return the string of a row."""
        wrap = self.wraps[self.codes[row]]
        if wrap.missing:
            return None
        text: str = wrap.prefix + self._stem(row, wrap) + wrap.suffix
        return text

    def encoded(self, rows: NDArray[np.int64] | None = None) -> Iterator[bytes]:
        """Return the strings of rows, or of all, in UTF-8; a missing one is empty.

        Args:
            rows: Which rows, ascending where it should be fast.
        """
        count = len(self) if rows is None else rows.size
        parts = (
            np.arange(start, min(start + _ROWS_AT_ONCE, count))
            if rows is None
            else rows[start : start + _ROWS_AT_ONCE]
            for start in range(0, count, _ROWS_AT_ONCE)
        )
        return chain.from_iterable(self._encoded_part(part) for part in parts)

    def hashes(self) -> NDArray[np.uint64]:
        """Return a number for each string of a leading column; equal for equal ones."""
        around = np.array([hash_bytes(repr(wrap).encode()) for wrap in self.wraps], np.uint64)
        result: NDArray[np.uint64] = around[self.codes] if self.wraps else np.zeros(0, np.uint64)
        if self.ends.size == 0:
            return result
        for start in range(0, len(self), _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, len(self))
            ends = self.ends[start : stop + 1].astype(np.int64)
            stems = _hash_pieces(self.blob[ends[0] : ends[-1]], ends - ends[0])
            result[start:stop] += stems * _MULTIPLIER
        return result

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, to be stored."""
        return {"codes": self.codes, "blob": self.blob, "ends": self.ends}

    @classmethod
    def of(
        cls, wraps: tuple[Wrap, ...], arrays: Mapping[str, NDArray[Any]], leading: Self | None
    ) -> Self:
        """Put a column together again."""
        return cls(wraps, arrays["codes"], arrays["blob"], arrays["ends"], leading)

    def _stem(self, row: int, wrap: Wrap) -> str:
        column = self.leading if wrap.shared and self.leading is not None else self
        if column.ends.size == 0:
            return ""
        start, end = int(column.ends[row]), int(column.ends[row + 1])
        return column.blob[start:end].tobytes().decode("utf-8", "surrogatepass")

    def _encoded_part(self, rows: NDArray[np.int64]) -> list[bytes]:
        codes = self.codes[rows]
        shared = np.array([wrap.shared for wrap in self.wraps], bool)[codes]
        stems = self._pieces(rows) if not shared.all() else [b""] * rows.size
        if self.leading is not None and shared.any():
            other = self.leading._pieces(rows)
            stems = (
                other
                if shared.all()
                else [
                    theirs if is_shared else own
                    for own, theirs, is_shared in zip(stems, other, shared.tolist(), strict=True)
                ]
            )
        prefixes = [_encode(wrap.prefix) for wrap in self.wraps]
        suffixes = [_encode(wrap.suffix) for wrap in self.wraps]
        return [
            prefixes[code] + stem + suffixes[code]
            for code, stem in zip(codes.tolist(), stems, strict=True)
        ]

    def _pieces(self, rows: NDArray[np.int64]) -> list[bytes]:
        if self.ends.size == 0:
            return [b""] * rows.size
        first, last = self.ends[rows].tolist(), self.ends[rows + 1].tolist()
        low, high = min(first), max(last)
        if high - low > 64 * 2**20:  # rows from all over the column
            return [self.blob[a:b].tobytes() for a, b in zip(first, last, strict=True)]
        block = self.blob[low:high].tobytes()
        return [block[a - low : b - low] for a, b in zip(first, last, strict=True)]


@dataclass(slots=True)
class TextColumnBuilder:
    """Collects the strings of a column."""

    _codes: array[int] = field(default_factory=lambda: array("H"))
    _lengths: array[int] = field(default_factory=lambda: array("I"))
    _blob: bytearray = field(default_factory=bytearray)
    _known: dict[Wrap, int] = field(default_factory=dict)

    def add(self, text: str | None, leading_stem: str | None = None) -> str:
        """Append a string.

        Args:
            text: The string, or `None` for none.
            leading_stem: What stands in the leading column.

        Returns:
            Its stem.
        """
        if text is None:
            return self._append(Wrap("", "", missing=True), "")
        prefix, stem, suffix = split_name(text)
        wrap = Wrap(prefix, suffix, stem == leading_stem and stem != "")
        if wrap not in self._known and len(self._known) >= _MAX_WRAPS - 1:
            wrap, stem = Wrap("", ""), text  # every string in a folder of its own
        self._append(wrap, "" if wrap.shared else stem)
        return stem

    def build(self, leading: TextColumn | None = None) -> TextColumn:
        """Return the column; the builder is empty afterwards."""
        lengths = np.frombuffer(self._lengths, np.uint32) if self._lengths else np.zeros(0, "u4")
        ends = np.zeros(0, np.uint32)
        if self._blob:
            small = len(self._blob) < 2**32
            ends = np.zeros(len(lengths) + 1, np.uint32 if small else np.uint64)
            np.cumsum(lengths, dtype=ends.dtype, out=ends[1:])
        codes = np.array(self._codes, np.uint8 if len(self._known) <= 2**8 else np.uint16)
        blob = np.frombuffer(bytes(self._blob), np.uint8)
        column = TextColumn(tuple(self._known), codes, blob, ends, leading)
        self._codes, self._lengths = array("H"), array("I")
        self._blob, self._known = bytearray(), {}
        return column

    def _append(self, wrap: Wrap, stem: str) -> str:
        code = self._known.setdefault(wrap, len(self._known))
        encoded = _encode(stem)
        self._codes.append(code)
        self._lengths.append(len(encoded))
        self._blob += encoded
        return stem


def split_name(text: str) -> tuple[str, str, str]:
    """Return the folder with its slash, the name, and the ending with its dot."""
    folder, slash, name = text.rpartition("/")
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem or len(ending) > _MAX_SUFFIX or not ending.isalnum():
        return folder + slash, name, ""
    return sys.intern(folder + slash), stem, dot + ending


def hash_bytes(text: bytes) -> np.uint64:
    """Return a number for a string, the same on every machine."""
    data = np.frombuffer(text, np.uint8)
    found: np.uint64 = _hash_pieces(data, np.array([0, data.size]))[0]
    return found


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # names of files need not be valid UTF-8


def _hash_pieces(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return a polynomial of the bytes of each piece, modulo 2^64; 0 for an empty one."""
    lengths = np.diff(ends)
    result = np.zeros(lengths.size, np.uint64)
    filled = lengths > 0
    if not filled.any():
        return result
    place = np.arange(data.size) - np.repeat(ends[:-1], lengths)
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(int(lengths.max()), _MULTIPLIER, np.uint64))
        terms = (data.astype(np.uint64) + np.uint64(1)) * powers[place]
        result[filled] = np.add.reduceat(terms, ends[:-1][filled])
    return result
