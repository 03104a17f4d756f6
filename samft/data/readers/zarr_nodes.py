"""What zarr groups and arrays, version 2 and 3, say about themselves: JSON, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samft.data.readers.json_files import read_json_object
from samft.data.readers.limits import check_declared_size, reading, unreadable
from samft.errors import DatasetError

ZARR_EXPECTED = "a zarr group or array, version 2 or 3"
_LARGEST_SIDE = 2**40
_METADATA = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
# What else is registered may run code that comes with the data, such as numcodecs' pickle.
_CODECS = frozenset(
    {
        "blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4", "bytes", "endian", "transpose",
        "sharding_indexed", "crc32c", "crc32", "adler32", "fletcher32", "shuffle", "delta",
        "fixedscaleoffset", "quantize", "bitround", "packbits", "astype",
    }
)  # fmt: skip
_COMPRESSORS = ("blosc", "zstd", "gzip", "zlib", "bz2", "lzma", "lz4")


@dataclass(frozen=True, kw_only=True, slots=True)
class ZarrNode:
    """A group or an array.

    Args:
        folder: Where it lies.
        version: Of zarr: 2 or 3.
        attributes: What its writer noted.
        array: The description of the array; `None` for a group.
    """

    folder: Path
    version: int
    attributes: dict[str, Any]
    array: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardIndex:
    """Where a file that holds several chunks says where they lie.

    Args:
        count: How many chunks the file has room for.
        nbytes: Length of the index.
        first: Whether it stands at the beginning, or at the end.
    """

    count: int
    nbytes: int
    first: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ZarrHeader:
    """What an array's metadata says, checked.

    Args:
        shape: Length of every axis.
        dtype: Type of the values.
        chunks: Shape of what is unpacked at once.
        files: Shape of what lies in one file: a chunk, or a shard of several.
        codec: The compressor; empty without one.
        names: Names of the axes, where it has them.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    files: tuple[int, ...]
    codec: str
    names: tuple[str, ...] | None
    shard: ShardIndex | None


def is_zarr(folder: Path) -> bool:
    """Tell whether a folder is a zarr group or array."""
    try:
        return any((folder / name).is_file() for name in _METADATA)
    except OSError:  # no file system takes such a name
        return False


def read_node(folder: Path) -> ZarrNode:
    """Read the metadata of a group or array.

    Raises:
        DatasetError: if there is none, or it is damaged.
    """
    if not is_zarr(folder):
        raise DatasetError(
            "the folder is no zarr",
            where=folder,
            found="neither zarr.json nor .zgroup, .zarray or .zattrs",
            expected=ZARR_EXPECTED,
        )
    third = folder / "zarr.json"
    if third.is_file():
        content = read_json_object(third, ZARR_EXPECTED)
        if content.get("zarr_format") != 3 or content.get("node_type") not in ("group", "array"):
            raise unreadable(third, f"zarr_format {content.get('zarr_format')!r}", ZARR_EXPECTED)
        attributes = content.get("attributes", {})
        array = content if content["node_type"] == "array" else None
        return ZarrNode(
            folder=folder, version=3, attributes=_object(third, attributes), array=array
        )
    notes, described = folder / ".zattrs", folder / ".zarray"
    return ZarrNode(
        folder=folder,
        version=2,
        attributes=read_json_object(notes, ZARR_EXPECTED) if notes.is_file() else {},
        array=read_json_object(described, ZARR_EXPECTED) if described.is_file() else None,
    )


def array_header(node: ZarrNode) -> ZarrHeader:
    """Return what an array's metadata says.

    Raises:
        DatasetError: if it is no array, is damaged, packed in a way that is not read, or its chunks
            are larger than allowed.
    """
    folder = node.folder
    if node.array is None:
        raise unreadable(folder, "a group", "a zarr array")
    with reading(folder, ZARR_EXPECTED):
        header = (_second if node.version == 2 else _third)(node, node.array)
        if len({len(header.shape), len(header.files), len(header.chunks)}) > 1:
            found = f"shape {header.shape}, chunks {header.chunks}"
            raise unreadable(folder, found, "as many sides in both")
        # A chunk at the edge is as large as the others: this is what is unpacked.
        check_declared_size(folder, header.chunks, header.dtype.itemsize)
        return header


def _second(node: ZarrNode, described: Mapping[str, Any]) -> ZarrHeader:
    folder = node.folder
    shape = _whole(folder, described.get("shape"), "shape")
    chunks = _whole(folder, described.get("chunks"), "chunks")
    codecs = [described.get("compressor"), *(described.get("filters") or [])]
    names = node.attributes.get("_ARRAY_DIMENSIONS")
    return ZarrHeader(
        shape=shape,
        dtype=_dtype(folder, described.get("dtype")),
        chunks=chunks,
        files=chunks,
        codec=_checked_codecs(folder, [codec for codec in codecs if codec is not None]),
        names=_axis_names(names, len(shape)),
        shard=None,
    )


def _third(node: ZarrNode, described: Mapping[str, Any]) -> ZarrHeader:
    folder = node.folder
    shape = _whole(folder, described.get("shape"), "shape")
    files = _whole(folder, _grid(folder, described), "chunk_shape")
    chunks, codecs, shard = files, _codecs(described.get("codecs")), None
    outer = next((c for c in codecs if c.get("name") == "sharding_indexed"), None)
    if outer is not None:
        inside = _object(folder, outer.get("configuration"))
        chunks = _whole(folder, inside.get("chunk_shape"), "chunk_shape")
        shard = _shard(folder, inside, files, chunks)
        codecs = [*(c for c in codecs if c is not outer), *_codecs(inside.get("codecs"))]
        if any(codec.get("name") == "sharding_indexed" for codec in codecs):
            raise unreadable(folder, "shards within shards", "chunks within shards")
    names = described.get("dimension_names")
    return ZarrHeader(
        shape=shape,
        dtype=_dtype(folder, described.get("data_type")),
        chunks=chunks,
        files=files,
        codec=_checked_codecs(folder, codecs),
        names=_axis_names(names, len(shape)),
        shard=shard,
    )


def _grid(folder: Path, described: Mapping[str, Any]) -> object:
    grid = described.get("chunk_grid")
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        raise unreadable(folder, f"chunk grid {grid!r:.60}", "a regular chunk grid")
    return _object(folder, grid.get("configuration")).get("chunk_shape")


def _codecs(codecs: object) -> list[dict[str, Any]]:
    if not isinstance(codecs, list):
        raise TypeError("codecs that are no list")
    return [{"name": codec} if isinstance(codec, str) else dict(codec) for codec in codecs]


def _shard(
    folder: Path, inside: Mapping[str, Any], files: tuple[int, ...], chunks: tuple[int, ...]
) -> ShardIndex:
    fits = len(files) == len(chunks) and not any(f % c for f, c in zip(files, chunks, strict=True))
    names = [str(codec.get("name")) for codec in _codecs(inside.get("index_codecs"))]
    if not fits or names not in (["bytes"], ["bytes", "crc32c"]):
        found = f"shards {files} of chunks {chunks}, index {names}"
        raise unreadable(folder, found, "shards of whole chunks, index bytes and crc32c")
    count = math.prod(files) // math.prod(chunks)
    # An offset and a length, 8 bytes each, for every chunk.
    nbytes = 16 * count + 4 * (len(names) - 1)
    check_declared_size(folder, [nbytes], 1)
    return ShardIndex(count=count, nbytes=nbytes, first=inside.get("index_location") == "start")


def _checked_codecs(folder: Path, codecs: list[dict[str, Any]]) -> str:
    names = [str(c.get("id", c.get("name"))).removeprefix("numcodecs.").lower() for c in codecs]
    unknown = [name for name in names if name not in _CODECS]
    if unknown:
        raise DatasetError(
            "the array is packed in a way that is not read",
            where=folder,
            found=f"codec {unknown[0]!r:.60}",
            expected=", ".join(_COMPRESSORS),
            fix="save it again with one of these",
        )
    return next((name for name in names if name in _COMPRESSORS), "")


def _dtype(folder: Path, stated: object) -> np.dtype[Any]:
    try:
        kind = np.dtype(stated) if isinstance(stated, str) else None
    except TypeError:
        kind = None
    if kind is None or kind.kind not in "buif" or kind.itemsize > 8:
        raise unreadable(folder, f"values of type {stated!r:.60}", "numbers")
    return kind


def _whole(folder: Path, value: object, what: str) -> tuple[int, ...]:
    right = isinstance(value, list) and 0 < len(value) <= 8
    if not isinstance(value, list) or not right or not all(_is_side(side) for side in value):
        raise unreadable(folder, f"{what} {value!r:.60}", "positive whole numbers")
    return tuple(value)


def _is_side(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 0 < side < _LARGEST_SIDE


def _axis_names(names: object, count: int) -> tuple[str, ...] | None:
    if not isinstance(names, list) or len(names) != count:
        return None
    known = [name for name in names if isinstance(name, str)]
    return tuple(known) if len(known) == count else None


def _object(path: Path, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise unreadable(path, f"{value!r:.60}", "an object")
    return value


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
