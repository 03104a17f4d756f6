"""Bit depths and colour modes, each against a decoder that the reader does not use."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from fixtures_data import discs
from PIL import Image

from samft.data.readers import deep_png, image
from samft.data.readers.image import probe_image, read_image, read_label_map, read_mask
from samft.errors import DatasetError

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 65536, (24, 31, 4)).astype(np.uint16)
CHOSEN = {"grey": [0], "grey+alpha": [0, 3], "rgb": [0, 1, 2], "rgba": [0, 1, 2, 3]}


def deep(kind: str) -> np.ndarray:
    array = DEEP[..., CHOSEN[kind]]
    return np.ascontiguousarray(array[..., 0] if kind == "grey" else array)


def oriented(data: bytes, orientation: int) -> bytes:
    """Put an eXIf chunk behind the header of a PNG."""
    exif = b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize("kind", CHOSEN)
def test_png_of_16_bits(tmp_path: Path, kind: str) -> None:
    path, array = tmp_path / "a.png", deep(kind)
    path.write_bytes(imagecodecs.png_encode(array))
    found = read_image(path)
    assert found.dtype == np.uint16
    assert np.array_equal(found, array if kind == "grey" else array[..., :3].squeeze()
                          if kind != "grey+alpha" else array[..., 0])  # fmt: skip
    assert probe_image(path) == (24, 31)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_png_of_16_bits_that_lies_on_its_side(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(oriented(imagecodecs.png_encode(deep("rgb")), orientation))
    small = tmp_path / "b.png"
    Image.fromarray((deep("rgb") >> 8).astype(np.uint8)).save(small)
    small.write_bytes(oriented(small.read_bytes(), orientation))
    assert np.array_equal(read_image(path) >> 8, read_image(small))  # Pillow turns the other
    assert probe_image(path) == read_image(path).shape[:2]


def test_opencv_writes_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ü.png"
    path.write_bytes(cv2.imencode(".png", deep("rgba")[..., [2, 1, 0, 3]])[1].tobytes())
    assert np.array_equal(read_image(path), deep("rgb"))


@pytest.mark.parametrize("kind", ["grey+alpha", "rgb", "rgba"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_png_of_16_bits_cut_off(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "a.png"
    data = imagecodecs.png_encode(deep(kind))
    path.write_bytes(data[: int(len(data) * share)])
    for read in (read_image, read_mask, probe_image):
        with pytest.raises(DatasetError, match="cannot be read"):
            read(path)


def test_png_of_16_bits_that_the_decoder_gives_up_on(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(deep("rgb")))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_image(path)
    assert "damaged pixels" in str(caught.value)


def test_a_chunk_that_says_it_is_two_gigabytes_long(tmp_path: Path) -> None:
    # Pillow is content with it, as all rows are there; OpenCV would take the memory first.
    path = tmp_path / "a.png"
    data = imagecodecs.png_encode(deep("rgb"))
    place = data.index(b"IDAT") - 4
    path.write_bytes(data[:place] + b"\x7f\xff\xff\xff" + data[place + 4 :])
    for read in (read_image, read_mask):
        with pytest.raises(DatasetError, match="cannot be read") as caught:
            read(path)
        assert "a chunk ends at byte" in str(caught.value)


def test_of_16_bits_the_first_header_and_picture_count(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    data = imagecodecs.png_encode(deep("rgb"))
    head, other = data[8:33], imagecodecs.png_encode(deep("rgb")[:5])[8:33]
    assert head != other
    still = struct.pack(">I", 8) + b"acTL" + struct.pack(">II", 2, 0)
    still += struct.pack(">I", zlib.crc32(still[4:]))
    path.write_bytes(data[:33] + still + other + data[33:])
    assert np.array_equal(deep_png.read_deep_png(path, 3, "a picture"), deep("rgb"))


def test_the_limit_counts_16_bits(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(deep("rgb")))
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(24 * 31 * 3 * 2 - 1))
    with pytest.raises(DatasetError, match="more memory than allowed"):
        read_image(path)
    assert deep_png.deep_channels(path) == 3


def test_labels_in_16_bits_with_alpha_or_colours(tmp_path: Path) -> None:
    labels = (discs(0) * 4321).astype(np.uint16)
    path = tmp_path / "a.png"
    opaque = np.full_like(labels, 65535)
    for channels in ([labels, opaque], [labels] * 3, [labels, labels, labels, opaque]):
        path.write_bytes(imagecodecs.png_encode(np.dstack(channels)))
        assert np.array_equal(read_label_map(path), labels)
    path.write_bytes(imagecodecs.png_encode(labels))
    assert np.array_equal(read_label_map(path), labels)
    path.write_bytes(imagecodecs.png_encode(np.dstack([labels, labels, opaque])))
    with pytest.raises(DatasetError, match="8-bit RGB"):
        read_mask(path)


def test_a_mask_with_alpha(tmp_path: Path) -> None:
    labels, path = discs(1).astype(np.uint8), tmp_path / "a.png"
    seen = np.where(labels > 0, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([labels, RNG.integers(0, 256, labels.shape, np.uint8)])).save(path)
    assert np.array_equal(read_label_map(path), labels)  # how opaque it is does not count
    Image.fromarray(np.dstack([np.full_like(seen, 200)] * 3 + [seen])).save(path)
    assert np.array_equal(read_label_map(path), seen)  # unless there is nothing else
    Image.fromarray(np.dstack([np.zeros_like(seen)] * 3 + [np.full_like(seen, 255)])).save(path)
    assert not read_label_map(path).any()  # an empty mask stays one


def test_one_bit(tmp_path: Path) -> None:
    mask = discs(2) > 0
    for name in ("a.png", "a.bmp", "a.tif"):
        Image.fromarray(mask).save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert found.dtype == np.uint8
        assert np.array_equal(found, mask * 255)
    tifffile.imwrite(tmp_path / "b.tif", mask, photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "b.tif"), mask * 255)
    assert np.array_equal(read_label_map(tmp_path / "b.tif"), mask)
    Image.fromarray(mask).save(tmp_path / "c.tif", compression="group4")
    assert np.array_equal(read_image(tmp_path / "c.tif"), mask * 255)


def test_palette_with_transparency(tmp_path: Path, recwarn) -> None:
    indices = (discs(3) % 4).astype(np.uint8)
    colours = np.array([[9, 8, 7], [250, 0, 0], [0, 240, 0], [0, 0, 230]], np.uint8)
    image_p = Image.fromarray(indices, mode="P")
    image_p.putpalette(colours.tobytes())
    for transparency in (0, bytes([0, 128, 255, 7])):
        image_p.save(tmp_path / "a.png", transparency=transparency)
        assert np.array_equal(read_image(tmp_path / "a.png"), colours[indices])
        assert np.array_equal(read_mask(tmp_path / "a.png"), indices)
        assert np.array_equal(read_mask(tmp_path / "a.png", palette="colour"), colours[indices])
    assert not [w for w in recwarn.list if "transparency" in str(w.message).lower()]


def test_cmyk_is_said_once(tmp_path: Path, caplog) -> None:
    colours = np.zeros((32, 48, 3), np.uint8)
    colours[:, :16], colours[:, 16:32], colours[:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    image._said.clear()
    with caplog.at_level(logging.INFO, logger="samft"):
        for name in ("a.jpg", "b.jpg"):
            Image.fromarray(colours).convert("CMYK").save(tmp_path / name, quality=95)
            error = np.abs(read_image(tmp_path / name).astype(int) - colours)
            assert np.median(error) < 5
    assert caplog.text.count("printing colours (CMYK)") == 1
    inks = 255 - np.dstack([colours, np.full((32, 48), 255, np.uint8)])
    tifffile.imwrite(tmp_path / "c.tif", inks, photometric="separated")
    assert np.array_equal(read_image(tmp_path / "c.tif"), colours)


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_of_an_animation_the_first_picture(tmp_path: Path, ending: str, caplog) -> None:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"a.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100, **options)
    image._said.clear()
    with caplog.at_level(logging.INFO, logger="samft"):
        for _ in range(2):
            assert np.array_equal(np.unique(read_image(path).reshape(-1, 3), axis=0), [[255, 0, 0]])
    assert caplog.text.count("the first picture is used") == 1
    assert probe_image(path) == (24, 32)


@pytest.mark.parametrize("ending", ["jpg", "webp", "png"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pictures_on_their_side(tmp_path: Path, ending: str, orientation: int) -> None:
    half = np.zeros((32, 64), np.uint8)
    half[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.dstack([half] * 3)).save(path, exif=exif)
    expected = {3: half[::-1, ::-1], 6: np.rot90(half, -1), 8: np.rot90(half)}[orientation]
    found = read_image(path)
    assert found.shape[:2] == probe_image(path) == expected.shape
    assert np.abs(found[..., 0].astype(int) - expected).mean() < 5


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int16, np.uint32, np.int8]
)
@pytest.mark.parametrize("settings", [{}, {"bigtiff": True, "compression": "zlib"}])
def test_tiff_of_other_types(tmp_path: Path, dtype: type, settings) -> None:
    array = (np.arange(24 * 31).reshape(24, 31) % 120 - 3).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, **settings)
    found = read_image(path)
    assert found.dtype == (np.float32 if dtype is np.float16 else dtype)
    assert np.array_equal(found, array.astype(found.dtype))


def test_labels_outside_32_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for value in (2**40, -(2**40)):
        tifffile.imwrite(path, np.full((8, 9), value, np.int64))
        with pytest.raises(DatasetError, match="values that are no labels"):
            read_label_map(path)
