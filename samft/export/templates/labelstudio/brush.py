"""Label Studio's brush masks: runs of a picture's bytes, packed bit by bit.

The picture has four channels (red, green, blue, alpha), rows from the top. The stream holds, from
the highest bit on:

    32 bits         number of bytes of the picture
    5 bits          bits of a value, less 1
    4 x 4 bits      the four widths that a length may have, less 1
    then, for each run:
    1 bit           1: one value follows, for the whole run
    2 bits          which of the four widths the length has
    that many bits  length of the run, less 1
    8 bits          the value

Zeros fill up the last byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CHANNELS = 4
_VALUE_BITS = 8
_WIDTHS = (3, 4, 8, 16)
_LONGEST = 1 << _WIDTHS[-1]


def mask_to_rle(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask (H, W) as bytes, 0 to 255, for `value.rle` of a brush label."""
    flat = np.asarray(mask, dtype=np.bool_).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    bits = [_number(flat.size * _CHANNELS, 32), _number(_VALUE_BITS - 1, 5)]
    bits += [_number(width - 1, 4) for width in _WIDTHS]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        bits += _runs(length, 255 if flat[start] else 0)
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _runs(length: int, value: int) -> list[str]:
    """Return the bits of one run, as several where it is too long for the widest length."""
    bits = []
    while length > 0:
        part = min(length, _LONGEST)
        index = next(i for i, width in enumerate(_WIDTHS) if part <= 1 << width)
        bits += ["1", _number(index, 2), _number(part - 1, _WIDTHS[index])]
        bits.append(_number(value, _VALUE_BITS))
        length -= part
    return bits


def _number(value: int, width: int) -> str:
    return format(value, f"0{width}b")
