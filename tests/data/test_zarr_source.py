"""Large images to predict: OME-Zarr and TIFF, plane by plane and part by part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ome_zarr_files import write_group, write_image, write_labels

from samft.data.lazy_sources import TiffSource, sampled
from samft.data.preprocessing import Preprocessing
from samft.data.readers import tiff
from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.source_files import find_sources, open_source
from samft.data.sources import PictureSource, StackSource
from samft.data.zarr_source import ZarrSource
from samft.errors import DatasetError

RNG = np.random.default_rng(0)
STACK = (RNG.gamma(2, 900, (4, 3, 60, 44))).clip(0, 65535).astype(np.uint16)  # Z, C, Y, X


def found(source: Path | str, **settings):
    return find_sources(str(source), Preprocessing(**settings))


def test_sources_in_a_folder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_image(root / "a.zarr", STACK, "zcyx")
    write_image(root / "sub" / "b.zarr", STACK[0, 0], "yx", version="0.5")
    series = write_group(root / "s.zarr", {"bioformats2raw.layout": 3})
    write_image(series / "0", STACK[0], "cyx")
    write_image(series / "1", STACK[0], "cyx")
    tifffile.imwrite(root / "t.tif", STACK[0, 0])
    sources = found(root).sources
    assert [(source.name, len(source.planes)) for source in sources] == [
        ("a.zarr", 4), ("s.zarr/0", 1), ("s.zarr/1", 1), ("sub/b.zarr", 1), ("t.tif", 1),
    ]  # fmt: skip
    assert [type(source) for source in sources[-2:]] == [ZarrSource, PictureSource]
    assert sources[0].planes[3] == "a.zarr/z003"
    assert sources[0].space.shape == (4, 60, 44)
    assert sources[3].planes == ("sub/b.zarr",)
    for source in sources:
        assert source.picture(0).shape == (3, 60, 44)
        assert source.size(0) == (60, 44)
    assert [s.name for s in found(root / "a.zarr").sources] == ["a.zarr"]
    assert [s.name for s in found(f"{root}/*.zarr").sources] == ["a.zarr", "s.zarr/0", "s.zarr/1"]
    assert [s.name for s in found(f"{root}/*").sources] == [
        "a.zarr",
        "s.zarr/0",
        "s.zarr/1",
        "t.tif",
    ]
    several = find_sources([str(root / "a.zarr"), str(root / "t.tif")], Preprocessing())
    assert [s.name for s in several.sources] == ["a.zarr", "t.tif"]
    (root / "list.csv").write_text("image\nsub/b.zarr\n")
    assert [s.name for s in found(root / "list.csv").sources] == ["sub/b.zarr"]


def test_a_zarr_that_is_no_image(tmp_path: Path) -> None:
    write_group(tmp_path / "empty.zarr", {})
    (tmp_path / "bad.zarr").mkdir()
    (tmp_path / "bad.zarr" / "zarr.json").write_text("{")
    result = found(tmp_path)
    assert not result.sources
    assert "the zarr holds no image" in str(result.failures["empty.zarr"])
    assert "cannot be read" in str(result.failures["bad.zarr"])


SETTINGS = [
    {},
    {"channels": (2, 0)},
    {"keep_depth": True},
    {"limits": (100.0, 5000.0)},
    {"percentiles": (5.0, 95.0)},
    {"limits": "zscore"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_grey_levels_are_those_of_a_stack_that_is_decoded_as_a_whole(
    tmp_path: Path, settings
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZCYX"})
    (whole,) = found(tmp_path / "a.tif", **settings).sources
    assert isinstance(whole, StackSource)
    path = write_image(tmp_path / "a.zarr", STACK, "zcyx", version="0.5")
    lazy = ZarrSource("a", path, Preprocessing(**settings))
    tiff = TiffSource("a", (tmp_path / "a.tif",), Preprocessing(**settings))
    for source in (lazy, tiff):
        assert source.space.shape == whole.space.shape
        for index in (0, 3):
            expected = whole.picture(index)
            assert source.picture(index).dtype == expected.dtype
            assert np.array_equal(source.picture(index), expected)
            part = source.part(index, (10, 5, 30, 20))
            assert np.array_equal(part, expected[:, 10:40, 5:25])
        assert source.nbytes == 0


def test_context_slices(tmp_path: Path) -> None:
    grey = STACK[:, 0]
    tifffile.imwrite(tmp_path / "a.tif", grey, imagej=True, metadata={"axes": "ZYX"})
    (whole,) = found(tmp_path / "a.tif", context=1).sources
    lazy = ZarrSource("a", write_image(tmp_path / "a", grey, "zyx"), Preprocessing(context=1))
    for index in range(4):
        assert np.array_equal(lazy.picture(index), whole.picture(index))


@pytest.mark.parametrize("settings", [{}, {"channels": (1, 0)}])
def test_a_large_flat_tiff_is_read_like_a_small_one(tmp_path: Path, settings, monkeypatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], metadata={"axes": "CYX"}, photometric="minisblack",
                     tile=(16, 16), compression="zlib")  # fmt: skip
    small = open_source("a", (path,), Preprocessing(**settings))
    monkeypatch.setattr(tiff, "_LARGE", 1000)
    large = open_source("a", (path,), Preprocessing(**settings))
    assert (type(small), type(large)) == (PictureSource, TiffSource)
    assert large.space is None
    assert large.size(0) == small.size(0)
    assert np.array_equal(large.picture(0), small.picture(0))
    assert np.array_equal(large.part(0, (3, 4, 20, 30)), small.part(0, (3, 4, 20, 30)))


def test_eight_bits_stay_and_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bytes_ = (STACK[0, 0] % 256).astype(np.uint8)
    path = write_image(tmp_path / "a", bytes_, "yx")
    assert np.array_equal(ZarrSource("a", path, Preprocessing()).picture(0)[1], bytes_)
    path = write_image(tmp_path / "b", bytes_ > 99, "yx")
    picture = ZarrSource("b", path, Preprocessing()).picture(0)
    assert np.array_equal(picture[0], (bytes_ > 99) * 255)


def test_four_channels_need_a_choice(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a", STACK[:, 0], "cyx")
    with pytest.raises(DatasetError, match="too many channels") as caught:
        ZarrSource("a", path, Preprocessing()).picture(0)
    assert "data.channels" in str(caught.value)
    chosen = ZarrSource("a", path, Preprocessing(channels=(0, 3)))
    assert chosen.picture(0).shape == (3, 60, 44)


def test_only_the_part_that_is_asked_for_is_read(tmp_path: Path, monkeypatch) -> None:
    path = write_image(tmp_path / "a", STACK[0, 0], "yx", levels=2, chunk=16)
    content = json.loads((path / "0" / ".zarray").read_text())
    content["shape"] = [60 * 10_000, 44 * 10_000]  # 528 GB
    (path / "0" / ".zarray").write_text(json.dumps(content))
    second = json.loads((path / "1" / ".zarray").read_text())
    second |= {"shape": [6000, 4400], "chunks": [512, 512]}
    for chunk in (path / "1").rglob("[0-9]"):  # what is not there is black
        if chunk.is_file():
            chunk.unlink()
    (path / "1" / ".zarray").write_text(json.dumps(second))
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(16 * 2**20))
    levels = []
    plane = OmeZarrImage.plane

    def seen(self, index, *, window=None, level=0):
        levels.append((level, window))
        return plane(self, index, window=window, level=level)

    monkeypatch.setattr(OmeZarrImage, "plane", seen)
    source = ZarrSource("a", path, Preprocessing(percentiles=(0.0, 100.0)))
    assert source.part(0, (0, 0, 60, 44)).shape == (3, 60, 44)
    assert levels[0] == (0, (0, 0, 60, 44))
    assert {level for level, _ in levels[1:]} == {1}  # black and white come from the small one
    assert len(levels) == 17
    with pytest.raises(DatasetError, match="more memory than allowed"):
        source.picture(0)


def test_sampling() -> None:
    calls = []

    def read(index, window):
        calls.append((index, window))
        return np.zeros((2, *(window[2:] if window else (1000, 1000))), np.uint8)

    assert sampled((5, 1000, 1000), read).shape == (2, 5_000_000)  # all of it
    calls.clear()
    assert sampled((1000, 1000, 1000), read).shape == (2, 16_000_000)
    assert [index for index, _ in calls][::15] == [0, 999]
    calls.clear()
    assert sampled((9, 30_000, 400), read).shape[1] == 4 * 4 * 512 * 400
    assert {index for index, _ in calls} == {0, 3, 5, 8}
    assert all(top + height <= 30_000 for _, (top, _, height, _) in calls)


def test_the_digest_is_that_of_the_image(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", STACK[0, 0], "yx")

    def digest() -> str:
        return ZarrSource("a", path, Preprocessing()).digest()

    before = digest()
    write_labels(path, "cells", STACK[0, 0] % 3, "yx")
    assert digest() == before
    (path / "0" / "0" / "0").write_bytes(b"changed")
    assert digest() != before
    changed = digest()
    (path / "0" / "9").symlink_to("/dev/zero")
    assert digest() == changed


def test_spacing_of_tiff(tmp_path: Path) -> None:
    for name, array in (("a.tif", STACK[0, 0]), ("b.tif", STACK[:, 0])):
        path = tmp_path / name
        tifffile.imwrite(path, array, imagej=True, resolution=(4, 2), metadata={"unit": "um"})
        source = open_source(name, (path,), Preprocessing())
        assert source.spacing_mm == pytest.approx((0.0005, 0.00025))
        lazy = TiffSource(name, (path,), Preprocessing())
        assert lazy.spacing_mm == pytest.approx((0.0005, 0.00025))
