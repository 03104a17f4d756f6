"""What MATLAB 5 files announce, checked before scipy believes it.

scipy reads from wherever the lengths in a file lead it, takes the number of a type for a place in a
table, and allocates a cell array or struct as large as its header says: damaged files end the whole
process. So everything is walked over first, in the same steps, and what is not as MATLAB writes it
is refused: types of elements, lengths that do not add up, and more values than there are bytes.

Source: The MathWorks, "MAT-File Format", R2024a, chapter 1, level 5 MAT-files.
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
_TAG = 8
_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32, _UTF8 = 1, 5, 6, 16
_WIDTHS: Final = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # bytes, by type
_WHOLE: Final = (1, 2, 3, 4, 5, 6, 12, 13)
_TEXT: Final = (1, 2, 4, 16, 17, 18)
_CELL, _STRUCT, _CHAR, _SPARSE = 1, 2, 4, 5
_DENSE: Final = range(6, 16)  # double to uint64
_UNREAD: Final = {3: "object", 16: "function", 17: "object"}
_COMPLEX = 1 << 11  # in the flags of an array
_DEEPEST = 32
_MOST_AXES = 32
_WIDEST = 8  # bytes of a value in memory, which may be stored in one


@dataclass(slots=True)
class _Elements:
    """A piece of a file, read from its beginning.

    Args:
        data: The piece.
        order: `<` or `>`, as `struct` has it.
        at: How far it was read, bytes.
    """

    data: memoryview
    order: str
    at: int = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.at

    def whole(self) -> tuple[int, memoryview]:
        """Return type and content of an element with a tag of eight bytes, not padded."""
        if self.left < _TAG:
            raise ValueError("it ends within an element")
        kind, size = struct.unpack_from(f"{self.order}II", self.data, self.at)
        self.at += _TAG
        if size > self.left:
            raise ValueError(f"an element of {size} bytes, {self.left} are there")
        start, self.at = self.at, self.at + size
        return kind, self.data[start : self.at]

    def part(self, *kinds: int) -> memoryview:
        """Return the content of an element of an array, which must be of one of these types.

        Raises:
            ValueError: if it is of another, or does not end in the piece.
        """
        if self.left < _TAG:
            raise ValueError("it ends within an element")
        (first,) = struct.unpack_from(f"{self.order}I", self.data, self.at)
        small, found = first >> 16, first & 0xFFFF if first >> 16 else first
        if found not in kinds:
            raise ValueError(f"an element of the type {found}")
        if small > 4:
            raise ValueError(f"a small element of {small} bytes")
        if small:  # type, length and content in eight bytes
            start, self.at = self.at + 4, self.at + _TAG
            return self.data[start : start + small]
        content = self.whole()[1]
        self.at = min(self.at + -len(content) % _TAG, len(self.data))
        return content

    def numbers(self, code: str, content: memoryview) -> tuple[int, ...]:
        """Return the whole numbers of four bytes in the content of an element."""
        if len(content) % 4:
            raise ValueError(f"numbers in {len(content)} bytes")
        return struct.unpack(f"{self.order}{len(content) // 4}{code}", content)


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
        _walk_file(_Elements(memoryview(data), order, _HEADER))
    except (ValueError, struct.error, zlib.error) as error:
        raise unreadable(path, str(error), EXPECTED) from error


def _walk_file(elements: _Elements) -> None:
    total, limit = 0, max_bytes()
    while elements.left:
        kind, piece = elements.whole()
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(piece, limit - total + 1)
            total += len(unpacked)
            if total > limit:
                raise ValueError(f"unpacked it takes more than {limit} bytes")
            if not unpacker.eof:
                raise ValueError("a compressed element ends too early")
            kind, piece = _Elements(memoryview(unpacked), elements.order).whole()
        if kind != _MATRIX:
            raise ValueError(f"an element of the type {kind}")
        _walk_matrix(_Elements(piece, elements.order), 0)


def _walk_matrix(matrix: _Elements, depth: int) -> None:
    """Walk over the content of an array, up to its end."""
    if depth > _DEEPEST:
        raise ValueError("cells in cells in cells, too deep")
    flags = matrix.numbers("I", matrix.part(_UINT32))
    if len(flags) != 2:
        raise ValueError(f"{len(flags)} flags of an array")
    kind = flags[0] & 0xFF
    if kind in _UNREAD:
        raise ValueError(f"an array of the kind {_UNREAD[kind]}, which is not read")
    shape = matrix.numbers("i", matrix.part(_INT32, _UINT32))
    if not 2 <= len(shape) <= _MOST_AXES or min(shape) < 0:
        raise ValueError(f"an array of {' x '.join(map(str, shape)) or 'no'} values")
    matrix.part(_INT8, _UTF8)  # the name
    if kind in (_CELL, _STRUCT):
        _walk_members(matrix, math.prod(shape), kind, depth)
        return
    parts = 2 if flags[0] & _COMPLEX else 1
    if kind in _DENSE:
        _walk_values(matrix, shape, parts)
    elif kind == _CHAR:
        _check_count(shape, max_bytes(), matrix.left)
        matrix.part(*_TEXT)
    elif kind == _SPARSE:
        for kinds in (_WHOLE, _WHOLE, *[tuple(_WIDTHS)] * parts):  # rows, columns' begins, values
            matrix.part(*kinds)
    else:
        raise ValueError(f"an array of the unknown kind {kind}")


def _walk_values(matrix: _Elements, shape: tuple[int, ...], parts: int) -> None:
    _check_count(shape, matrix.left, matrix.left)
    for _ in range(parts):
        at = matrix.at
        content = matrix.part(*_WIDTHS)
        (first,) = struct.unpack_from(f"{matrix.order}I", matrix.data, at)
        width = _WIDTHS[first & 0xFFFF if first >> 16 else first]
        if len(content) != math.prod(shape) * width:
            raise ValueError(f"{len(content)} bytes for {math.prod(shape)} values of {width}")


def _check_count(shape: tuple[int, ...], most: int, left: int) -> None:
    if math.prod(shape) > most or math.prod(shape) * _WIDEST > max_bytes():
        sides = " x ".join(map(str, shape))
        raise ValueError(f"an array of {sides} values, {left} bytes are there")


def _walk_members(matrix: _Elements, count: int, kind: int, depth: int) -> None:
    if kind == _STRUCT:
        widths = matrix.numbers("i", matrix.part(_INT32))
        names = matrix.part(_INT8)
        if len(widths) != 1 or widths[0] < 1 or len(names) % widths[0]:
            raise ValueError(f"names of {', '.join(map(str, widths)) or 'no'} letters")
        fields = len(names) // widths[0]
        if fields == 0:
            _check_count((count,), max_bytes(), matrix.left)
        count *= fields
    if count * _TAG > matrix.left:
        raise ValueError(f"{count} cells, {matrix.left} bytes are there")
    for _ in range(count):
        member, content = matrix.whole()
        if member != _MATRIX:
            raise ValueError(f"an element of the type {member}")
        inside = _Elements(content, matrix.order)
        if len(content) == 0:  # how an empty cell is stored
            continue
        _walk_matrix(inside, depth + 1)
        # scipy goes on where the content ends, wherever the tag has said that it would.
        if inside.left or len(content) % _TAG:
            raise ValueError(f"a cell of {len(content)} bytes, {inside.left} too many")
