"""What MATLAB 5 files announce, checked before scipy believes it.

scipy allocates a cell array or struct as large as its header says, and unpacks whatever is
compressed. So every element is walked over first: compressed ones are unpacked up to a limit, and
nothing may announce more than there are bytes for.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from samft.data.readers.limits import check_file_size, max_bytes, unreadable

EXPECTED: Final = "a MATLAB file of version 5 to 7.2"
_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _OBJECT = 1, 2, 3
_DEEPEST = 32
_DENSE = (4, *range(6, 16))  # text, double to uint64
_OTHERS = (5, 16, 17)  # sparse, function, opaque
_WIDEST = 8  # bytes of a value in memory, which may be stored in one


@dataclass(frozen=True, slots=True)
class _Elements:
    """A piece of a file with its byte order."""

    data: memoryview
    order: str

    def tag(self, at: int) -> tuple[int, int, int, int]:
        """Return (type, bytes, where they begin, where the next element begins)."""
        if at + 8 > len(self.data):
            raise ValueError("it ends within an element")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, at)
        if kind >> 16:  # a small element: both in the first four bytes
            return kind & 0xFFFF, kind >> 16, at + 4, at + 8
        end = at + 8 + size
        if end > len(self.data):
            raise ValueError(f"an element of {size} bytes, {len(self.data) - at - 8} are there")
        padded = end if kind == _COMPRESSED else end + -size % 8
        return kind, size, at + 8, min(padded, len(self.data))


def check_mat(path: Path) -> None:
    """Refuse a MATLAB file that would take more memory than allowed, or that scipy cannot read.

    Raises:
        DatasetError: for it, and for files of other versions and damaged ones.
    """
    check_file_size(path)
    data = path.read_bytes()
    if data.startswith(b"MATLAB 7.3") or data[512:520] == b"\x89HDF\r\n\x1a\n":
        raise unreadable(path, "version 7.3, which is HDF5 (save it with -v7)", EXPECTED)
    orders = {b"IM": "<", b"MI": ">"}
    order = orders.get(data[126:128])
    if len(data) < _HEADER or order is None or 0 in data[:4]:
        raise unreadable(path, "no header of MATLAB 5", EXPECTED)
    try:
        _walk_file(_Elements(memoryview(data), order))
    except (ValueError, struct.error, zlib.error) as error:
        raise unreadable(path, str(error), EXPECTED) from error


def _walk_file(elements: _Elements) -> None:
    at, total, limit = _HEADER, 0, max_bytes()
    while at < len(elements.data):
        kind, size, start, at = elements.tag(at)
        piece = elements.data[start : start + size]
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(piece, limit - total + 1)
            total += len(unpacked)
            if total > limit:
                raise ValueError(f"unpacked it takes more than {limit} bytes")
            if not unpacker.eof:
                raise ValueError("a compressed element ends too early")
            inner = _Elements(memoryview(unpacked), elements.order)
            kind, size, start, _ = inner.tag(0)
            piece = inner.data[start : start + size]
        if kind == _MATRIX:
            _walk_matrix(_Elements(piece, elements.order), 0)


def _walk_matrix(matrix: _Elements, depth: int) -> None:
    if len(matrix.data) == 0:  # how an empty cell is stored
        return
    if depth > _DEEPEST:
        raise ValueError("cells in cells in cells, too deep")
    _, _, start, at = matrix.tag(0)
    kind = struct.unpack_from(f"{matrix.order}I", matrix.data, start)[0] & 0xFF
    _, size, start, at = matrix.tag(at)
    shape = struct.unpack_from(f"{matrix.order}{size // 4}i", matrix.data, start)
    if min(shape, default=-1) < 0:
        raise ValueError(f"an array of {' x '.join(map(str, shape)) or 'no'} values")
    if kind in (_CELL, _STRUCT, _OBJECT):
        _walk_members(matrix, at, math.prod(shape), kind, depth)
    elif kind in _DENSE:
        left = len(matrix.data) - at
        if math.prod(shape) > left or math.prod(shape) * _WIDEST > max_bytes():
            sides = " x ".join(map(str, shape))
            raise ValueError(f"an array of {sides} values, {left} bytes are there")
    elif kind not in _OTHERS:
        raise ValueError(f"an array of the unknown kind {kind}")


def _walk_members(matrix: _Elements, at: int, count: int, kind: int, depth: int) -> None:
    _, _, _, at = matrix.tag(at)  # the name
    if kind == _OBJECT:
        _, _, _, at = matrix.tag(at)  # the name of the class
    if kind != _CELL:
        _, _, start, at = matrix.tag(at)
        width = struct.unpack_from(f"{matrix.order}i", matrix.data, start)[0]
        _, size, _, at = matrix.tag(at)
        count *= size // width if width > 0 else 0
    if count * 8 > len(matrix.data) - at:  # each has a tag of eight bytes
        raise ValueError(f"{count} cells, {len(matrix.data) - at} bytes are there")
    for _ in range(count):
        member, size, start, at = matrix.tag(at)
        if member == _MATRIX:
            _walk_matrix(_Elements(matrix.data[start : start + size], matrix.order), depth + 1)
