"""Masks painted in Label Studio: its own run lengths, packed bit by bit, and PNG data URLs.

The run lengths are of a picture's bytes: four channels, rows from the top; the mask is where the
fourth is not 0. The stream holds, from the highest bit on: 32 bits, number of bytes of the picture;
5 bits, bits of a value less 1; four times 4 bits, the widths that a length may have, less 1. Then
for each run: 1 bit, whether one value follows for the whole run or one for each byte; 2 bits, which
of the widths the length has; the length less 1; the value or values.

Source: https://github.com/thi-ng/umbrella, rle-pack; https://labelstud.io/tags/brushlabels
"""

from __future__ import annotations

import base64
import binascii
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CHANNELS = 4
_BYTE = 8
_OPAQUE = 128
_PREFIX = "base64,"


def decode_brush(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of a brush label.

    Args:
        data: The numbers of `value.rle`, a byte each.
        size: (height, width) of the image.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: if they are cut off, or of a picture of another size.
    """
    bits = _Bits(data)
    total, value_bits = bits.read(32), bits.read(5) + 1
    widths = [bits.read(4) + 1 for _ in range(4)]
    expected = size[0] * size[1] * _CHANNELS
    if total != expected:
        raise ValueError(f"a mask of {total} bytes, {expected} in the image")
    picture = np.zeros(total, np.bool_)
    at = 0
    while at < total:
        same = bits.read(1)
        length = bits.read(widths[bits.read(2)]) + 1
        if at + length > total:
            raise ValueError("runs that do not end with the image")
        if same:
            picture[at : at + length] = bits.read(value_bits) != 0
        else:
            picture[at : at + length] = bits.values(length, value_bits)
        at += length
    return picture[_CHANNELS - 1 :: _CHANNELS].reshape(size)


def decode_data_url(url: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of a bitmask label: what is not transparent, or not black.

    Args:
        url: `data:image/png;base64,...`.
        size: (height, width) of the image.

    Raises:
        ValueError: if it is no PNG of this size.
    """
    start = url.find(_PREFIX)
    if not url.startswith("data:image/png") or start < 0:
        raise ValueError("a bitmask that is no PNG")
    try:
        content = base64.b64decode(url[start + len(_PREFIX) :], validate=True)
        with Image.open(BytesIO(content), formats=("PNG",)) as picture:
            if picture.size != size[::-1]:
                raise ValueError(f"a bitmask of {picture.height} x {picture.width}")
            if "A" in picture.getbands() or "transparency" in picture.info:
                return np.asarray(picture.convert("RGBA").getchannel("A")) >= _OPAQUE
            return np.asarray(picture.convert("L")) >= _OPAQUE
    except (OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError("a bitmask that cannot be read") from error


class _Bits:
    """Reads whole numbers of any width from bytes, the highest bit first."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._end = len(data) * _BYTE

    def read(self, width: int) -> int:
        end = self._at + width
        if end > self._end:
            raise ValueError("run lengths that are cut off")
        last = (end + _BYTE - 1) // _BYTE
        whole = int.from_bytes(self._data[self._at // _BYTE : last], "big")
        self._at = end
        return (whole >> (last * _BYTE - end)) & ((1 << width) - 1)

    def values(self, count: int, width: int) -> NDArray[np.bool_]:
        """Return which of several numbers of the same width are not 0."""
        end = self._at + count * width
        if end > self._end:
            raise ValueError("run lengths that are cut off")
        first, last = self._at // _BYTE, (end + _BYTE - 1) // _BYTE
        bits = np.unpackbits(np.frombuffer(self._data[first:last], np.uint8))
        start = self._at - first * _BYTE
        self._at = end
        return np.asarray(bits[start : start + count * width].reshape(count, width).any(axis=1))
