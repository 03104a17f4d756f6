"""What a compressed chunk would grow to, before anything is unpacked.

The metadata of an array says how large its chunks are; whoever wants to fill a memory stores a few
kilobytes that unpack to a thousand times that.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

_ZSTD_FRAME = 0xFD2FB528
_ZSTD_BLOCK = 128 * 1024  # bytes that a compressed block unpacks to, at most
_ZLIB_GROWTH = 1032  # deflate's largest factor
_CHEAP = 64 * 2**20  # bytes; what may be unpacked without looking first


def unpacks_within(data: bytes, codec: str, limit: int) -> bool:
    """Tell whether compressed data stays within `limit` bytes when it is unpacked.

    Args:
        data: As stored.
        codec: Name of the codec, as zarr calls it.
        limit: Bytes that are expected.

    Source:
        Blosc header (nbytes at byte 4); RFC 8878 (zstd), section 3.1.1.2 for blocks; numcodecs'
        LZ4, which puts the size first.
    """
    if codec in ("blosc", "lz4"):
        start = 4 if codec == "blosc" else 0
        return int.from_bytes(data[start : start + 4], "little") <= limit
    if codec == "zstd":
        return _zstd_bound(data, limit) <= limit
    if codec in ("gzip", "zlib"):
        if len(data) * _ZLIB_GROWTH <= max(limit, _CHEAP):
            return True
        return _streamed(zlib.decompressobj(47), data, limit)
    if codec in ("bz2", "lzma"):
        maker: Callable[[], Any] = bz2.BZ2Decompressor if codec == "bz2" else lzma.LZMADecompressor
        return _streamed(maker(), data, limit)
    return len(data) <= limit


def _streamed(decompressor: Any, data: bytes, limit: int) -> bool:  # Any: one of three kinds
    piece, total = decompressor.decompress(data, 2**20), 0
    while piece:
        total += len(piece)
        if total > limit:
            return False
        rest = getattr(decompressor, "unconsumed_tail", b"")
        if decompressor.eof:
            break
        piece = decompressor.decompress(rest, 2**20)
    return True


def _zstd_bound(data: bytes, limit: int) -> int:
    """Return how much data unpacks to at most, less the last block of every frame."""
    place, total = 0, 0
    while place + 8 <= len(data) and total <= limit:
        magic = int.from_bytes(data[place : place + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # a frame to be skipped
            place += 8 + int.from_bytes(data[place + 4 : place + 8], "little")
            continue
        if magic != _ZSTD_FRAME:
            return total  # no zstd: the decoder says so
        place, grown = _zstd_frame(data, place + 4, limit)
        total += grown
    return total


def _zstd_frame(data: bytes, place: int, limit: int) -> tuple[int, int]:
    """Return where a frame ends, and what its blocks unpack to, the last one left out."""
    descriptor = data[place]
    single = bool(descriptor & 0x20)
    place += 1 + (not single) + (0, 1, 2, 4)[descriptor & 3]
    place += ((1 if single else 0), 2, 4, 8)[descriptor >> 6]
    total = 0
    while place + 3 <= len(data) and total <= limit:
        header = int.from_bytes(data[place : place + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        place += 3 + (1 if kind == 1 else size)
        if last:
            return place + (4 if descriptor & 4 else 0), total
        total += _ZSTD_BLOCK if kind == 2 else size
    return place, total
