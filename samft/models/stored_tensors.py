"""Tensors from the bytes of a weights file, with every number of their description checked."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from typing import BinaryIO, Final
from zipfile import ZipFile

import torch
from torch import Tensor

from samft.models.inert_objects import StorageReference, TensorReference

_MOST_AXES: Final = 16
_LOCAL_HEADER = struct.Struct("<26xHH")


class Storages:
    """The bytes of storages in a file that is mapped into memory.

    Args:
        data: The file.
        places: First byte and number of bytes of each storage, by name.
    """

    def __init__(self, data: mmap.mmap, places: Mapping[str, tuple[int, int]]) -> None:
        self._data = data
        self._places = places
        self._made: dict[str, Tensor] = {}

    def tensor(self, reference: TensorReference) -> Tensor:
        """Return a tensor as a view of its storage, whose values are copied from the file once.

        Args:
            reference: What the file says about it.

        Raises:
            ValueError: if it reaches beyond its storage, or shows values more than once.
        """
        size, stride, offset = reference.size, reference.stride, reference.offset
        lists = isinstance(size, tuple) and isinstance(stride, tuple)
        if not lists or len(size) != len(stride) or len(size) > _MOST_AXES:
            raise ValueError("a tensor without shape")
        if any(type(number) is not int or number < 0 for number in (*size, *stride, offset)):
            raise ValueError("a tensor of negative or unknown shape")
        values = self._values(reference.storage)
        if 0 in size:
            return torch.empty(size, dtype=values.dtype)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if last >= values.numel() or math.prod(size) > values.numel():
            raise ValueError(f"a tensor of shape {size} in {values.numel()} values")
        return values.as_strided(size, stride, offset)

    def _values(self, reference: StorageReference) -> Tensor:
        """Return all values of a storage, one-dimensional."""
        if reference.key not in self._made:
            start, there = self._places.get(reference.key, (0, -1))
            size = reference.count * reference.dtype.itemsize
            if there < size:
                raise ValueError(f"{max(0, there)} bytes where {size} should be")
            raw = bytearray(self._data[start : start + size])
            empty = torch.empty(0, dtype=reference.dtype)
            self._made[reference.key] = (
                torch.frombuffer(raw, dtype=reference.dtype) if raw else empty
            )
        return self._made[reference.key]


def member_places(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Return first byte and number of bytes of each member of an archive of `torch.save`.

    Args:
        file: The archive, whose members are not compressed.

    Returns:
        By name, without the folder that all members are in.
    """
    with ZipFile(file) as archive:
        members = archive.infolist()
    places = {}
    for member in members:
        file.seek(member.header_offset)
        name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        start = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        places[member.filename.partition("/")[2]] = (start, member.file_size)
    return places
