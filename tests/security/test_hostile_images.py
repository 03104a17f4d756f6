"""Pictures made to fill the memory, to hang or to lie: an error of ours for each, and quickly."""

from __future__ import annotations

import io
import lzma
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hostile_files import make_special, refused_by
from PIL import Image

from samft.data.readers.image import probe_image, read_image, read_mask
from samft.data.readers.image_window import read_image_window
from samft.data.readers.tiff_spacing import read_tiff_voxel
from samft.data.readers.tiff_stack import read_stack, stack_header
from samft.errors import DatasetError

pytestmark = pytest.mark.usefixtures("small_limit", "no_hang")

LIMIT = 16 * 2**20  # of the fixture small_limit
BOMB = 100 * 2**20
PIXELS = (np.arange(48 * 40) * 7 % 251).astype(np.uint8).reshape(48, 40)
ENDINGS = ("png", "jpg", "gif", "webp", "bmp", "tif")


def picture(ending: str) -> bytes:
    buffer = io.BytesIO()
    if ending == "tif":
        tifffile.imwrite(buffer, PIXELS, photometric="minisblack", rowsperstrip=5)
    else:
        kind = {"jpg": "JPEG"}.get(ending, ending.upper())
        Image.fromarray(PIXELS).save(buffer, kind)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    length, check = len(content), zlib.crc32(kind + content)
    return struct.pack(">I", length) + kind + content + struct.pack(">I", check)


def png(*extra: bytes, size=(48, 40), depth=8, colours=0, rows: bytes | None = None) -> bytes:
    """Return a grey PNG with chunks put in before its pixels."""
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, colours, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS) if rows is None else rows
    parts = [
        chunk(b"IHDR", header),
        *extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(*entries: tuple[int, int, int, int], behind: int = 0) -> bytes:
    """Return a TIFF of one directory; an entry is its tag, type, count and value."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", behind)


def grey(width=16, height=16, *, bits=8, compression=1) -> list[tuple[int, int, int, int]]:
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, compression),
            (262, 3, 1, 1), (277, 3, 1, 1)]  # fmt: skip


def everything(path: Path) -> None:
    """Read a picture in every way; the first way that refuses it ends that."""
    probe_image(path)
    read_image(path)
    read_mask(path)
    read_image_window(path, (0, 0, 2, 2))


def compressed_zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(2**20)) for _ in range(count // 2**20)]  # never all at once
    return b"".join([*parts, packer.flush()])


ZEROS = compressed_zeros(BOMB)


@pytest.mark.parametrize("eighth", range(8))
@pytest.mark.parametrize("ending", ENDINGS)
def test_cut_off_at_every_eighth(tmp_path: Path, ending: str, eighth: int) -> None:
    data = picture(ending)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(data)
    everything(path)
    path.write_bytes(data[: len(data) * eighth // 8])
    refused_by(everything, path, kind=DatasetError)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("content", [b"\0" * 1000, b"\xff" * 1000, b"<html></html>", b"PK\3\4"])
def test_something_else(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    refused_by(everything, path, kind=DatasetError)


@pytest.mark.parametrize("ending", [*ENDINGS[:5], "tif"])
def test_the_ending_of_another_kind(tmp_path: Path, ending: str) -> None:
    path = tmp_path / ("a.png" if ending == "tif" else "a.tif")
    path.write_bytes(picture(ending))
    refused_by(everything, path, kind=DatasetError)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_name_that_would_break_the_message(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a\n\x1b[2J\r\u202e.{ending}"
    path.write_bytes(b"nothing")
    with pytest.raises(DatasetError) as caught:
        everything(path)
    text = str(caught.value)
    assert len(text.splitlines()) <= 3
    assert not set("\x1b\r\u202e") & set(text)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "ring", "link to a pipe", "gone"])
def test_what_is_no_file(tmp_path: Path, ending: str, what: str) -> None:
    path = tmp_path / f"a.{ending}"
    make_special(path, what)
    for read in (probe_image, read_image, read_mask):
        refused_by(read, path, kind=DatasetError)


NOTES = {
    "zTXt": lambda: chunk(b"zTXt", b"a\0\0" + ZEROS),
    "iTXt": lambda: chunk(b"iTXt", b"a\0\1\0\0\0" + ZEROS),
    "iCCP": lambda: chunk(b"iCCP", b"a\0\0" + ZEROS),
}


@pytest.mark.parametrize("colours", [0, 2])
@pytest.mark.parametrize("kind", NOTES)
def test_notes_in_a_png_that_unpack_to_a_lot(tmp_path: Path, kind: str, colours: int) -> None:
    path = tmp_path / "a.png"
    depth, samples = (8, 1) if colours == 0 else (16, 6)
    rows = b"".join(b"\0" + bytes(40 * samples) for _ in range(48))
    path.write_bytes(png(NOTES[kind](), depth=depth, colours=colours, rows=rows))
    refused_by(everything, path, kind=DatasetError)


def test_notes_in_a_png_that_are_many(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    note = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20 - 10), 9))
    path.write_bytes(png(*[note] * 100))
    refused_by(everything, path, kind=DatasetError)


SIZES = {"most there is": (2**31 - 1, 2**31 - 1), "none": (0, 40), "negative": (2**32 - 1, 5),
         "a line": (2**31 - 1, 1), "above the limit": (5000, 5000)}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("depth", [1, 8, 16])
def test_a_png_that_says_it_is_huge(tmp_path: Path, name: str, depth: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(size=SIZES[name], depth=depth, rows=b"\0" * 50))
    refused_by(everything, path, kind=DatasetError)


def test_a_png_with_more_pixels_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    data = png()
    path.write_bytes(data[:33] + chunk(b"IDAT", ZEROS) + chunk(b"IEND", b""))
    everything(path)  # what comes behind the last row is not unpacked
    assert read_image(path).shape == (48, 40)


@pytest.mark.filterwarnings("ignore:Invalid APNG")  # Pillow says so, and reads the picture
@pytest.mark.parametrize("frames", [0, 1, 2**31 - 1, 2**32 - 1])
def test_a_png_that_says_it_moves(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(chunk(b"acTL", struct.pack(">II", frames, 0))))
    assert np.array_equal(read_image(path), PIXELS)


def big_gif() -> bytes:
    data = bytearray(picture("gif"))
    data[6:10] = b"\xff\xff\xff\xff"
    return bytes(data)


def big_jpeg() -> bytes:
    data = bytearray(picture("jpg"))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    data = bytearray(picture("bmp"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def big_webp() -> bytes:
    # A canvas of 2^24 by 2^24 around a small picture.
    inside = picture("webp")[12:]
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff" * 6
    return b"RIFF" + struct.pack("<I", 4 + len(extended + inside)) + b"WEBP" + extended + inside


LIES = {
    "gif": big_gif,
    "jpg": big_jpeg,
    "webp": big_webp,
    "bmp": lambda: bmp(2**31 - 1, 2**31 - 1),
    "bmp upside down": lambda: bmp(60_000, -60_000),
    "bmp of negative width": lambda: bmp(-40, 48),
    "bmp of width 0": lambda: bmp(0, 48),
}


@pytest.mark.parametrize("name", LIES)
def test_other_pictures_that_lie_about_their_size(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a.{name.split(maxsplit=1)[0]}"
    path.write_bytes(LIES[name]())
    refused_by(everything, path, kind=DatasetError)


def test_a_gif_of_many_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    data = picture("gif")
    frame = data[data.index(b",", 13 + 768) : -1]
    path.write_bytes(data[:-1] + frame * 500 + b";")
    assert read_image(path).shape == (48, 40, 3)
    path.write_bytes(data[:-1] + frame * 500)  # and no end
    assert read_image(path).shape == (48, 40, 3)


TIFFS = {
    "2^31 tiles": tiff(*grey(2**20, 2**19), (322, 4, 1, 16), (323, 4, 1, 16), (324, 4, 2**31, 8),
                       (325, 4, 2**31, 8)),
    "2^31 strips": tiff(*grey(16, 2**31), (278, 4, 1, 1), (273, 4, 2**31, 8), (279, 4, 2**31, 8)),
    "2^31 pixels wide": tiff(*grey(2**31, 2**31), (273, 4, 1, 8), (279, 4, 1, 9)),
    "no width": tiff(*grey(0, 16), (273, 4, 1, 8), (279, 4, 1, 9)),
    "tiles of no size": tiff(*grey(), (322, 4, 1, 0), (323, 4, 1, 0), (324, 4, 1, 8),
                             (325, 4, 1, 8)),
    "tiles of all memory": tiff(*grey(), (322, 4, 1, 2**20), (323, 4, 1, 2**20), (324, 4, 1, 8),
                                (325, 4, 1, 8)),
    "no strips": tiff(*grey()),
    "a strip behind the end": tiff(*grey(), (273, 4, 1, 2**31), (279, 4, 1, 256)),
    "a strip longer than the file": tiff(*grey(), (273, 4, 1, 8), (279, 4, 1, 2**32 - 1)),
    "a page behind the end": tiff(*grey(), (273, 4, 1, 8), (279, 4, 1, 256), behind=2**31),
    "a page that follows itself": tiff(*grey(), (273, 4, 1, 8), (279, 4, 1, 64), behind=8),
    "a page within itself": tiff(*grey(), (273, 4, 1, 8), (279, 4, 1, 99), (330, 4, 1, 8)),
    "2^31 pages within": tiff(*grey(), (273, 4, 1, 8), (279, 4, 1, 999), (330, 4, 2**31, 8)),
    "65,535 samples": tiff(*grey()[:-1], (277, 3, 1, 65_535), (273, 4, 1, 8), (279, 4, 1, 256)),
    "3 bits": tiff(*grey(bits=3), (273, 4, 1, 8), (279, 4, 1, 999)),
    "1,000 bits": tiff(*grey(bits=1000), (273, 4, 1, 8), (279, 4, 1, 256)),
    "a compression nobody knows": tiff(*grey(compression=60_000), (273, 4, 1, 8), (279, 4, 1, 9)),
    "a note of 2^32 letters": tiff(*grey(), (270, 2, 2**32 - 1, 8), (273, 4, 1, 8),
                                   (279, 4, 1, 999)),
    "4,096 tags and more": b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
    "an order of bytes nobody knows": b"IM*\0\x08\0\0\0" + bytes(100),
    "the first page at 0": b"II*\0" + bytes(100),
    "a BigTIFF of odd offsets": b"II+\0\x07\0\0\0" + bytes(100),
    "a BigTIFF of 2^63 tags": b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 8 + bytes(50),
}  # fmt: skip


@pytest.mark.parametrize("name", TIFFS)
def test_tiff_that_lies(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(TIFFS[name])
    refused_by(everything, path, kind=DatasetError)


@pytest.mark.parametrize("name", [n for n in TIFFS if "page" not in n and "note" not in n])
def test_a_stack_that_lies(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(TIFFS[name])
    for read in (stack_header, read_stack, read_tiff_voxel):
        try:
            read(path)
        except DatasetError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("compression", [8, 32773, 34925])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_strip_that_unpacks_to_far_more(tmp_path: Path, compression: int, bits: int) -> None:
    packed = {
        8: lambda: ZEROS,
        32773: lambda: b"\x81\0" * (BOMB // 128),
        34925: lambda: lzma.compress(bytes(BOMB // 4), preset=0),
    }[compression]()
    entries = grey(bits=bits, compression=compression)
    data = tiff(*entries, (273, 4, 1, 512), (279, 4, 1, len(packed))).ljust(512, b"\0")
    path = tmp_path / "a.tif"
    path.write_bytes(data + packed)
    tracemalloc.start()
    try:
        assert read_image(path).shape == (16, 16)  # or it is refused
    except DatasetError as error:
        assert str(path) in str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * LIMIT
