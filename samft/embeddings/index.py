"""The index of a shard: records of fixed size, each with its own checksum.

A record is 128 bytes, little-endian: the first 8 bytes of the store's digest, the sha256 of the
image, variant, crc32 of the stored bytes, their offset, the number of dimensions, eight dimensions,
and the crc32 of all this. A record that was torn, damaged or copied from another store does not
count; because of the fixed size the ones after it still do.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from math import prod
from typing import Final

from samft.embeddings.key import EntryKey

MAX_DIMS: Final = 8
"""Most dimensions a stored tensor can have."""
_BODY: Final = struct.Struct(f"<8s32sIIQB3x{MAX_DIMS}Q")
_CHECKSUM: Final = struct.Struct("<I")
RECORD_BYTES: Final = _BODY.size + _CHECKSUM.size
TAG_BYTES: Final = 8
"""How much of the store's digest stands in a record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRecord:
    """Where an entry lies in its shard.

    Args:
        entry: Which one.
        offset: Its first byte, a multiple of the alignment.
        shape: Shape of the tensor, at most 8 dimensions.
        crc: crc32 of its bytes.
    """

    entry: EntryKey
    offset: int
    shape: tuple[int, ...]
    crc: int

    def end(self, item_bytes: int) -> int:
        """Return where its last byte ends, given the size of a value."""
        return self.offset + prod(self.shape) * item_bytes

    def encode(self, tag: bytes) -> bytes:
        """Return the record's bytes; `tag` are the first 8 bytes of the store's digest."""
        dims = self.shape + (0,) * (MAX_DIMS - len(self.shape))
        body = _BODY.pack(
            tag,
            self.entry.content,
            self.entry.variant,
            self.crc,
            self.offset,
            len(self.shape),
            *dims,
        )
        return body + _CHECKSUM.pack(zlib.crc32(body))


def decode(data: bytes, tag: bytes) -> IndexRecord | None:
    """Return the record in 128 bytes, or `None` if they are not a whole record of this store."""
    body = data[: _BODY.size]
    if len(data) != RECORD_BYTES or _CHECKSUM.unpack(data[_BODY.size :])[0] != zlib.crc32(body):
        return None
    found_tag, content, variant, crc, offset, num_dims, *dims = _BODY.unpack(body)
    if found_tag != tag or num_dims > MAX_DIMS:
        return None
    shape = tuple(dims[:num_dims])
    return IndexRecord(entry=EntryKey(content, variant), offset=offset, shape=shape, crc=crc)


def decode_all(data: bytes, tag: bytes) -> tuple[list[IndexRecord], int]:
    """Return every valid record, and where the last of them ends."""
    records, used = [], 0
    for start in range(0, len(data) - RECORD_BYTES + 1, RECORD_BYTES):
        record = decode(data[start : start + RECORD_BYTES], tag)
        if record is not None:
            records.append(record)
            used = start + RECORD_BYTES
    return records, used
