"""Read a file written by `torch.save` without trusting it.

Two gates stand before a value is returned. The pickle inside is searched for everything it would
look up or call, and only what plain tensors and plain data need may pass, none of it again and
again; then torch loads it with `weights_only=True`. There is no way around either.

The first gate is not a repetition: torch's own allow-list still lets a file of a few bytes ask for
gigabytes (`bytearray`, `Tensor`, `UntypedStorage`, or thousands of sets of one long list), and a
compressed archive would unpack to any size.
"""

from __future__ import annotations

import pickletools
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Final
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch

from samft.errors import CheckpointError
from samft.models.inert_pickle import PICKLE_ERRORS, InertUnpickler, named_objects

MAX_HEADER_BYTES: Final = 16 * 2**20
"""Limit for what describes the tensors of a file; `vit_h` with its optimiser needs under 1 MB."""

_STORAGE_TYPES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long")
HARMLESS_NAMES: Final = frozenset(
    {
        "__builtin__.set",
        "_codecs.encode",
        "builtins.set",
        "collections.Counter",
        "collections.OrderedDict",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        *(f"torch.{name}Storage" for name in (*_STORAGE_TYPES, "Short")),
        *(f"torch.{dtype}" for dtype in ("bfloat16", "float16", "float32", "float64", "int64")),
    }
)
"""Functions and classes that a file of plain tensors and plain data names."""
# Opcodes that find or build objects by other means than GLOBAL; torch.save never writes them.
_FOREIGN_OPCODES: Final = frozenset(
    {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
)
ZIP_ERRORS: Final = (
    BadZipFile,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What zipfile raises on damaged or foreign archives."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_FIX = "ask for the plain weights: torch.save(model.state_dict(), FILE) or safetensors"


def read_torch_file(path: Path) -> object:
    """Load a file written by `torch.save` (torch 1.6 or newer) to the CPU.

    Tensors are mapped into memory, not read, where the file system allows it.

    Args:
        path: The file, which starts with the bytes of a zip archive.

    Returns:
        What was saved: tensors and plain Python data.

    Raises:
        CheckpointError: if the file is damaged, holds more than tensors and plain data, or asks for
            more memory than it has bytes.
    """
    pickle_bytes = read_pickle(path)
    _refuse_foreign_objects(pickle_bytes, path)
    _refuse_copies(pickle_bytes, path)
    try:
        return _load(path)
    except Exception as error:  # a hostile pickle can make the unpickler raise anything
        raise CheckpointError(
            "the weights file cannot be read", where=path, found=_first_line(error), fix=_FIX
        ) from error


def _load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(path, map_location="cpu", weights_only=True, mmap=False)


def read_pickle(path: Path) -> bytes:
    """Check an archive and return the pickle in it; nothing of it is loaded.

    Args:
        path: The file, which starts with the bytes of a zip archive.

    Raises:
        CheckpointError: if it is damaged, or no archive as `torch.save` writes it.
    """
    try:
        with path.open("rb") as file, ZipFile(file) as archive:
            members = archive.infolist()
            member = _pickle_member(members, path)
            _check_members(members, path)
            return _member_bytes(file, member)
    except ZIP_ERRORS as error:
        raise CheckpointError(
            "the weights file is cut short or damaged",
            where=path,
            found=f"{path.stat().st_size} bytes, {_first_line(error)}",
            fix="copy or download it again",
        ) from error


def _check_members(members: list[ZipInfo], path: Path) -> None:
    # torch looks names up without regard to case, so two of them could be one to it.
    names = {member.filename.lower() for member in members}
    compressed = [member.filename for member in members if member.compress_type != ZIP_STORED]
    size = path.stat().st_size
    declared = sum(member.file_size for member in members)
    if compressed or declared > size or len(names) != len(members):
        raise CheckpointError(
            "the weights file is not an archive as torch.save writes it",
            where=path,
            found=f"{len(compressed)} compressed members, {declared} bytes unpacked",
            expected=f"none compressed, at most {size} bytes",
            fix=_FIX,
        )


def _pickle_member(members: list[ZipInfo], path: Path) -> ZipInfo:
    names = [member.filename.partition("/")[2] for member in members]
    if "constants.pkl" in names:
        raise CheckpointError(
            "the weights file is a TorchScript program, not weights", where=path, fix=_FIX
        )
    if names.count("data.pkl") != 1 or len({m.filename.partition("/")[0] for m in members}) != 1:
        raise CheckpointError(
            "the weights file is a zip archive, but not one written by torch.save",
            where=path,
            found=", ".join(member.filename for member in members[:3]) or "an empty archive",
            expected="archive/data.pkl",
            fix="unpack it if the weights are inside",
        )
    member = members[names.index("data.pkl")]
    if member.file_size > MAX_HEADER_BYTES:
        raise CheckpointError(
            "the weights file describes far more than a SAM",
            where=f"{path}: {member.filename}",
            found=f"{member.file_size} bytes",
            expected=f"at most {MAX_HEADER_BYTES} bytes",
            fix=_FIX,
        )
    return member


def _member_bytes(file: BinaryIO, member: ZipInfo) -> bytes:
    # Not ZipFile.read: torch can save without checksums, and that would be refused as damage.
    file.seek(member.header_offset)
    _, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    file.seek(name_length + extra_length, 1)
    return file.read(member.file_size)


def _refuse_foreign_objects(pickle_bytes: bytes, path: Path) -> None:
    try:
        found = {
            _global_name(opcode.name, argument)
            for opcode, argument, _ in pickletools.genops(pickle_bytes)
            if opcode.name == "GLOBAL" or opcode.name in _FOREIGN_OPCODES
        }
    except ValueError as error:
        raise CheckpointError(
            "the weights file is damaged",
            where=path,
            found=_first_line(error),
            fix="copy or download it again",
        ) from error
    foreign = sorted(found - HARMLESS_NAMES)
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise CheckpointError(
            "the file holds program objects besides weights and was not loaded: it could run code",
            where=path,
            found=", ".join(foreign[:3]) + more,
            expected="tensors and plain data",
            fix=_FIX,
        )


def _refuse_copies(pickle_bytes: bytes, path: Path) -> None:
    """Refuse a pickle that would copy the same objects again and again, `set(x)` for one."""
    try:
        named_objects(pickle_bytes)
        InertUnpickler(pickle_bytes, set()).load()
    except PICKLE_ERRORS as error:
        raise CheckpointError(
            "the weights file cannot be read", where=path, found=_first_line(error), fix=_FIX
        ) from error


def _global_name(opcode: str, argument: object) -> str:
    return str(argument).replace(" ", ".") if opcode == "GLOBAL" else f"the pickle opcode {opcode}"


def _first_line(error: Exception) -> str:
    """Return the gist of an error of a library on one line."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]
