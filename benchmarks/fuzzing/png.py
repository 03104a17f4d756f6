"""PNG files as the chunks they consist of: made, and changed so that checksums stay right."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_SIDES: Final = (0, 1, 2, 7, 9, 255, 4097, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_KINDS: Final = (b"tRNS", b"PLTE", b"eXIf", b"gAMA", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL",
                 b"fdAT", b"sBIT", b"bKGD", b"IDAT", b"IEND", b"IHDR")  # fmt: skip


def mutate_png(data: bytes, seed: int) -> bytes:
    """Change a chunk of a PNG, a number in it, or its pixels; checksums stay right."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    chunks = _chunks(data)
    if not chunks:
        return data
    place = chance.randrange(len(chunks))
    kind, content = chunks[place]
    choice = chance.randrange(8)
    if choice == 0:
        del chunks[place]
    elif choice == 1:
        chunks.insert(chance.randrange(len(chunks) + 1), (kind, content))
    elif choice == 2:
        chunks[place] = (chance.choice(_KINDS), content)
    elif choice == 3:
        new = (chance.choice(_KINDS), zlib.compress(bytes(chance.choice((1, 100, 100_000)))))
        chunks.insert(1, new)
    elif choice == 4:
        chunks[0] = (chunks[0][0], _other_header(chunks[0][1], chance))
    else:
        chunks[place] = (kind, _other_content(kind, content, chance))
    return png_of(chunks)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    place, found = len(_SIGNATURE), []
    while data.startswith(_SIGNATURE) and place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def png_of(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the file that consists of these chunks, each a kind and its content."""
    parts = [_SIGNATURE]
    for kind, content in chunks:
        length, check = len(content).to_bytes(4, "big"), zlib.crc32(kind + content)
        parts += [length, kind, content, check.to_bytes(4, "big")]
    return b"".join(parts)


def _other_header(content: bytes, chance: random.Random) -> bytes:
    if len(content) != 13:
        return content
    fields = list(struct.unpack(">IIBBBBB", content))
    place = chance.randrange(7)
    fields[place] = chance.choice(_SIDES) if place < 2 else chance.choice((0, 1, 2, 3, 4, 6, 8, 16))
    return struct.pack(">IIBBBBB", *fields)


def _other_content(kind: bytes, content: bytes, chance: random.Random) -> bytes:
    """Change some bytes; of pixels those that are packed."""
    if kind in (b"IDAT", b"fdAT") and chance.random() < 0.8:
        skip = 4 * (kind == b"fdAT")
        try:
            unpacked = zlib.decompressobj().decompress(content[skip:], 2**20)
        except zlib.error:
            return content
        return content[:skip] + zlib.compress(_spoilt(unpacked, chance))
    return _spoilt(content, chance)


def _spoilt(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    choice = chance.randrange(4)
    if choice == 0:
        return bytes(changed[: chance.randrange(len(changed) + 1)])
    if choice == 1:
        return bytes(changed + chance.randbytes(chance.choice((1, 4, 300))))
    for _ in range(chance.choice((1, 2, 8))):
        if changed:
            changed[chance.randrange(len(changed))] = chance.choice((0, 1, 127, 128, 254, 255))
    return bytes(changed)


def interlaced_png(pixels: np.ndarray) -> bytes:
    """Return a grey picture whose pixels come in seven passes, each finer than the one before.

    Args:
        pixels: (H, W) uint8.
    """
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2),
              (1, 2, 0, 1))  # fmt: skip
    parts = [pixels[top::down, left::across] for top, down, left, across in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    header = struct.pack(">IIBBBBB", *pixels.shape[::-1], 8, 0, 0, 0, 1)
    return png_of([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])
