"""Targets: TIFF, flat and stacks, and what microscopes write about them."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from benchmarks.fuzzing.target import Target
from samft.data.lazy_sources import TiffSource
from samft.data.preprocessing import Preprocessing
from samft.data.readers.image import read_label_map
from samft.data.readers.image_window import read_label_window
from samft.data.readers.tiff import probe_tiff, read_tiff, read_tiff_window
from samft.data.readers.tiff_spacing import read_tiff_voxel
from samft.data.readers.tiff_stack import read_label_stack, read_stack_plane, stack_header
from samft.data.sources import StackSource
from samft.errors import SamftError

_TAGS: Final = (254, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 283, 284,
                296, 297, 305, 317, 320, 322, 323, 324, 325, 330, 338, 339, 347, 530, 32997, 33550,
                33628, 34412, 34665, 42113, 50838, 50839)  # fmt: skip
_NUMBERS: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 32, 63, 64, 255, 256, 4096, 32_773, 34_925,
                   65_535, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63)  # fmt: skip
_HEIGHT, _WIDTH = 18, 21
_GREY: Final = (np.arange(_HEIGHT * _WIDTH) % 250).astype(np.uint8).reshape(_HEIGHT, _WIDTH)
_COLOUR: Final = np.stack([_GREY, _GREY[::-1], _GREY // 2], axis=-1)
_STACK: Final = np.stack([_GREY[:9, :8]] * 3).astype(np.uint16)


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (
        Target("tiff", "image.tif", _read_flat, _flat_seeds, mutate_tiff),
        Target("tiff_stack", "stack.tif", _read_stack, _stack_seeds, mutate_tiff),
        Target("tiff_notes", "notes.tif", _read_notes, _notes_seeds, mutate_notes, _with_notes),
    )


def mutate_tiff(data: bytes, seed: int) -> bytes:
    """Change the tag, type, count or value of one entry of a TIFF's directories."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return data
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    entries = _entries(data, order, big=big)
    if not entries:
        return data
    changed, at = bytearray(data), chance.choice(entries)
    word, size = ("Q", 8) if big else ("I", 4)
    for _ in range(chance.choice((1, 1, 2, 3))):
        choice = chance.randrange(8)
        if choice == 0:
            struct.pack_into(order + "H", changed, at, chance.choice(_TAGS))
        elif choice == 1:
            struct.pack_into(order + "H", changed, at + 2, chance.randrange(20))
        elif choice == 2:
            struct.pack_into(order + word, changed, at + 4, _number(chance, size, len(data)))
        elif choice == 3:
            other = chance.choice(entries)
            changed[at : at + 4 + 2 * size] = changed[other : other + 4 + 2 * size]
        elif choice == 4:
            struct.pack_into(order + "H", changed, at + 4 + size, _number(chance, 2, len(data)))
        else:
            number = _number(chance, size, len(data))
            struct.pack_into(order + word, changed, at + 4 + size, number)
        at = chance.choice(entries)
    return bytes(changed)


def _number(chance: random.Random, size: int, length: int) -> int:
    near = chance.randrange(length + 100)
    return chance.choice((*_NUMBERS, near, near & ~7, length)) % 2 ** (8 * size)


def _entries(data: bytes, order: str, *, big: bool) -> list[int]:
    """Return where the entries of all directories stand."""
    word, size, step = ("Q", 8, 20) if big else ("I", 4, 12)
    counter, width = ("Q", 8) if big else ("H", 2)
    place: int = struct.unpack_from(order + word, data, 8 if big else 4)[0]
    found: list[int] = []
    for _ in range(20):
        if not 0 < place <= len(data) - width:
            break
        count = min(64, struct.unpack_from(order + counter, data, place)[0])
        start = place + width
        end = start + step * count
        if end + size > len(data):
            break
        found += range(start, end, step)
        place = struct.unpack_from(order + word, data, end)[0]
    return found


def mutate_notes(data: bytes, seed: int) -> bytes:
    """Change a number or a word of a text."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    words = (b"0", b"-1", b"1e999", b"nan", b"99999999999", b"4294967297", b'"', b"<", b">", b"=",
             b"\n", b"mm", b"\xb5m", b"XYZCT", b"CCCCC", b"../x", b"<!ENTITY a 'b'>")  # fmt: skip
    start = chance.randrange(len(data) + 1)
    end = min(len(data), start + chance.choice((0, 1, 1, 2, 5)))
    digits = [place for place in range(len(data)) if data[place : place + 1].isdigit()]
    if digits and chance.random() < 0.5:
        start = chance.choice(digits)
        end = start + 1
    return data[:start] + chance.choice(words) + data[end:]


def _read_flat(path: Path) -> object:
    height, width = probe_tiff(path)
    read_tiff(path)
    part = (height // 2, width // 3, height - height // 2, width - width // 3)
    read_tiff_window(path, part)
    read_tiff(path, keep_codes=True, every_channel=True)
    read_tiff_window(path, (0, 0, 1, 1), keep_codes=True, every_channel=True)
    read_tiff_voxel(path)
    with suppress(SamftError):  # colours, probabilities
        read_label_window(path, part)
        read_label_map(path)
    return TiffSource("a", (path,), Preprocessing()).part(0, part)


def _read_stack(path: Path) -> object:
    header = stack_header(path)
    if header is None:
        return read_tiff(path)
    planes, height, width = header.shape
    for index in {0, planes - 1}:
        read_stack_plane(path, index, window=(height // 2, 0, 1, width), seen=True)
    read_tiff_voxel(path)
    with suppress(SamftError):  # channels, probabilities
        read_label_stack(path)
    with suppress(SamftError):  # too many channels
        source = StackSource("a", (path,), Preprocessing())
        return source.picture(len(source.planes) - 1)
    return None


def _read_notes(path: Path) -> object:
    read_tiff_voxel(path)
    return _read_stack(path)


def _written(array: np.ndarray, **settings: Any) -> bytes:  # Any: as tifffile takes them
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **settings)
    return buffer.getvalue()


def _flat_seeds(_: Path) -> Sequence[bytes]:
    grey: Any = {"metadata": None, "photometric": "minisblack"}
    deep = _GREY.astype(np.uint16) * 200
    seeds = [_written(_GREY.astype(kind), **grey)
             for kind in ("u1", "u2", "i4", "f2", "f4", "f8", "?")]  # fmt: skip
    seeds += [_written(deep, **grey, compression=name, predictor=predictor)
              for name, predictor in (("zlib", True), ("lzw", True), ("packbits", False),
                                      ("lzma", False), ("zstd", False))]  # fmt: skip
    seeds += [
        _written(deep, **grey, byteorder=">", rowsperstrip=5, resolution=(300.0, 300.0)),
        _written(deep, **grey, bigtiff=True, tile=(16, 16)),
        _written(_GREY, photometric="miniswhite", metadata=None),
        _written(_GREY, photometric="palette", colormap=np.full((3, 256), 500, "u2")),
        _written(_COLOUR, photometric="rgb", metadata=None, extratags=[(274, 3, 1, 6, True)]),
        _written(_COLOUR, photometric="rgb", compression="jpeg", tile=(16, 16), metadata=None),
        _written(np.moveaxis(_COLOUR, -1, 0), photometric="rgb", planarconfig="separate"),
        _written(_with_one_more(), photometric="separated", metadata=None),
        _written(_with_one_more(), photometric="rgb", extrasamples=["unassalpha"], tile=(16, 16)),
        _written(_GREY.astype("f4"), **grey, compression="zlib", predictor=3),
    ]
    return seeds


def _with_one_more() -> np.ndarray:
    return np.concatenate([_COLOUR, _GREY[..., None]], axis=-1)


def _stack_seeds(_: Path) -> Sequence[bytes]:
    grey: Any = {"photometric": "minisblack"}
    channels = np.stack([_STACK, _STACK], axis=1)
    colours = np.stack([_COLOUR[:9, :8]] * 2)
    unit = {"spacing": 2.0, "unit": "um", "axes": "ZYX"}
    sizes = {"axes": "ZCYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    return [
        _written(_STACK, **grey),
        _written(_STACK, **grey, metadata=None, compression="zlib", rowsperstrip=4),
        _written(_STACK, **grey, metadata=None, tile=(16, 16), bigtiff=True),
        _written(_STACK, **grey, imagej=True, metadata=unit, resolution=(2.0, 2.0)),
        _written(channels, **grey, imagej=True, metadata={"axes": "ZCYX"}),
        _written(channels, **grey, ome=True, metadata=sizes),
        _written(channels, **grey, ome=True, metadata=sizes, compression="zlib"),
        _written(_STACK.astype("u1"), **grey, volumetric=True, tile=(16, 16, 16)),
        _written(colours, photometric="rgb", metadata=None),
        _written(_STACK, **grey, metadata=None, byteorder=">"),
    ]


def _notes_seeds(_: Path) -> Sequence[bytes]:
    described = []
    for seed in _stack_seeds(_)[3:7]:
        with tifffile.TiffFile(io.BytesIO(seed)) as file:
            described.append(file.pages[0].description.encode("latin-1"))
    return [
        *described,
        b"ImageJ=1.53\nimages=3\nslices=3\nunit=micron\nspacing=1.5\nloop=false\n",
        b"Aperio Image Library v1\r\n8x9|AppMag = 40|MPP = 0.25",
        b'{"shape": [6, 9, 8], "axes": "ZYX"}',
    ]


def _with_notes(data: bytes) -> bytes:
    """Return a stack of six planes with this text as its description."""
    planes = np.concatenate([_STACK, _STACK])
    return _written(planes, photometric="minisblack", metadata=None, description=data)
