"""Read the tensors out of files that `samft.models.torch_file` refuses, without running anything.

Training scripts save whole programs: optimisers, arguments, modules. A pickle names the functions
that rebuild them, and an ordinary reader calls these. Here every name stands for an inert object
that remembers what it was given, so nothing is imported and nothing called; tensors are described
while the file is read, and made from its bytes afterwards.

Read are files of `torch.save`, also those from before torch 1.6.

Source:
    torch/serialization.py (`_legacy_save`, `_save`) and torch/_utils.py (`_rebuild_*`), torch 2.13.
"""

from __future__ import annotations

import io
import mmap
import pickletools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from samft.errors import CheckpointError
from samft.models.inert_objects import StorageReference
from samft.models.inert_pickle import PICKLE_ERRORS, InertUnpickler, named_objects
from samft.models.stored_tensors import Storages, member_places
from samft.models.torch_file import MAX_HEADER_BYTES, read_pickle

MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
"""First object of a file of torch before 1.6."""
_PROTOCOL: Final = 1001
_OTHER_ORDER: Final = "values of a machine with another byte order"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyFile:
    """What a file holds.

    Args:
        content: Dictionaries, lists, numbers, texts, inert objects, and descriptions of tensors.
        storages: Where the values of the tensors are; they are read when asked for.
        names: The functions and classes that an ordinary reader would have called, sorted.
    """

    content: object
    storages: Storages
    names: tuple[str, ...]


def read_legacy_file(path: Path) -> LegacyFile:
    """Read a file of `torch.save`; no function or class that it names is looked up.

    Args:
        path: The file.

    Raises:
        CheckpointError: if it is damaged, no file of `torch.save`, or asks for more memory than it
            has bytes.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_ZIP))
        if head == _ZIP:
            return _read_zip(path)
        return _read_stream(path)
    except PICKLE_ERRORS as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> CheckpointError:
    """Return the error for a file that cannot be read."""
    lines = str(error).strip().splitlines()
    return CheckpointError(
        "the file cannot be read as one of torch.save",
        where=path,
        found=f"{type(error).__name__}: {(lines or [''])[0][:160]}".rstrip(": "),
        fix="copy or download it again; bare pickles and joblib files are not read",
    )


def _unpickle(
    pickle_bytes: bytes, names: set[str]
) -> tuple[Any, Mapping[str, StorageReference]]:  # Any: whatever is in the file
    names.update(named_objects(pickle_bytes))
    reader = InertUnpickler(pickle_bytes, names)
    return reader.load(), reader.references


def _read_zip(path: Path) -> LegacyFile:
    names: set[str] = set()
    content, _ = _unpickle(read_pickle(path), names)
    with path.open("rb") as file:
        places = member_places(file)
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start, size = places.get("byteorder", (0, 0))
    if size and data[start : start + size].strip() != b"little":
        raise ValueError(_OTHER_ORDER)
    stored = {name[5:]: place for name, place in places.items() if name.startswith("data/")}
    return LegacyFile(content=content, storages=Storages(data, stored), names=tuple(sorted(names)))


def _read_stream(path: Path) -> LegacyFile:
    """Read the format before torch 1.6: five pickles, then the bytes of each storage."""
    names: set[str] = set()
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    pickles = _pickles(data)
    magic, protocol = (_unpickle(next(pickles)[0], names)[0] for _ in range(2))
    if magic != MAGIC_NUMBER or protocol != _PROTOCOL:
        raise ValueError("a bare pickle, not a file of torch.save")
    system, _ = _unpickle(next(pickles)[0], names)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError(_OTHER_ORDER)
    content, references = _unpickle(next(pickles)[0], names)
    body, end = next(pickles)
    places = _stream_places(data, end, keys=_unpickle(body, names)[0], references=references)
    return LegacyFile(content=content, storages=Storages(data, places), names=tuple(sorted(names)))


def _pickles(data: mmap.mmap) -> Iterator[tuple[bytes, int]]:
    """Yield the pickles that follow each other, and where each of them ends."""
    start = 0
    while True:
        window = io.BytesIO(data[start : start + MAX_HEADER_BYTES])
        for _ in pickletools.genops(window):
            pass
        start += window.tell()
        yield window.getvalue()[: window.tell()], start


def _stream_places(
    data: mmap.mmap, place: int, *, keys: object, references: Mapping[str, StorageReference]
) -> dict[str, tuple[int, int]]:
    """Return start and length of every storage; each begins with the number of its values."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("no list of the tensors")
    places = {}
    for key in keys:
        count = int.from_bytes(data[place : place + 8], "little", signed=True)
        size = count * references[key].dtype.itemsize
        place += 8
        if count < 0 or place + size > len(data):
            raise ValueError(f"{count} values beyond the end of the file")
        places[key] = (place, size)
        place += size
    return places
