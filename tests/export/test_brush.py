"""Label Studio's brush masks against a decoder written from the format's definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from samft.export.templates.labelstudio.brush import mask_to_rle


class Bits:
    """Reads whole numbers from a list of bytes, the highest bit first."""

    def __init__(self, data):
        self.bits = np.unpackbits(np.array(data, np.uint8))
        self.at = 0

    def take(self, count):
        value = 0
        for bit in self.bits[self.at : self.at + count]:
            value = value * 2 + int(bit)
        self.at += count
        return value


def decode(data):
    """Return the flat picture: a header, then runs of one value or of single values."""
    bits = Bits(data)
    total = bits.take(32)
    word = bits.take(5) + 1
    widths = [bits.take(4) + 1 for _ in range(4)]
    out = []
    while len(out) < total:
        is_run = bits.take(1)
        length = bits.take(widths[bits.take(2)]) + 1
        out += [bits.take(word)] * length if is_run else [bits.take(word) for _ in range(length)]
    assert len(bits.bits) - bits.at < 8
    return np.array(out, np.uint8)


def assert_comes_back(mask):
    data = mask_to_rle(mask)
    assert all(type(value) is int and 0 <= value <= 255 for value in data)
    picture = decode(data).reshape(*mask.shape, 4)
    assert (picture == np.where(mask, 255, 0)[..., None]).all()


@given(arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=24)))
@settings(deadline=None, max_examples=50)
def test_any_mask_comes_back(mask):
    assert_comes_back(mask)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 63, 64, 65, 16384, 16385, 40_000])
def test_runs_of_every_width_come_back(length):
    mask = np.zeros((1, length + 3), np.bool_)
    mask[0, 1 : length + 1] = True
    assert_comes_back(mask)


@pytest.mark.parametrize("value", [True, False])
def test_a_mask_of_one_value(value):
    assert_comes_back(np.full((130, 130), value))


def test_a_mask_is_small():
    yy, xx = np.mgrid[:500, :700]
    mask = (yy - 250) ** 2 + (xx - 350) ** 2 < 200**2
    assert len(mask_to_rle(mask)) < 4000
