"""Parts of pictures: equal to what is cut out of the whole, and no more is decoded."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fixtures_data import discs, save
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from samft.data.readers.image import read_image, read_label_map
from samft.data.readers.image_window import read_image_window, read_label_window
from samft.data.readers.orientation import turned, turned_window, turns_sides
from samft.data.tiling import windows_of
from samft.errors import DatasetError

COLOURS = np.random.default_rng(0).integers(0, 256, (61, 83, 3)).astype(np.uint8)
WRITERS = {
    "strips.tif": {"compression": "zlib", "rowsperstrip": 5},
    "tiles.tif": {"compression": "zlib", "tile": (16, 32)},
    "plain_tiles.tif": {"tile": (32, 16)},
    "plain.tif": {},
    "planar.tif": {"planarconfig": "separate", "tile": (16, 16), "compression": "zlib"},
    "lzw.tif": {"compression": "lzw", "rowsperstrip": 9, "predictor": 2},
}


def write(path: Path) -> Path:
    if path.name in WRITERS:
        array = COLOURS if path.name != "planar.tif" else np.moveaxis(COLOURS, -1, 0)
        tifffile.imwrite(path, array, photometric="rgb", **WRITERS[path.name])
    else:
        Image.fromarray(COLOURS).save(path)
    return path


@pytest.mark.parametrize("name", [*WRITERS, "a.png", "a.bmp"])
def test_a_part_is_what_the_whole_has_there(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    assert np.array_equal(read_image(path), COLOURS)
    for window in ((0, 0, 61, 83), (0, 0, 1, 1), (60, 82, 1, 1), (13, 29, 31, 40)):
        top, left, height, width = window
        expected = COLOURS[top : top + height, left : left + width]
        assert np.array_equal(read_image_window(path, window), expected)


@pytest.mark.parametrize("name", ["tiles.tif", "a.png"])
@pytest.mark.parametrize("window", [(-1, 0, 5, 5), (0, 0, 62, 5), (0, 80, 5, 5), (0, 0, 0, 5)])
def test_a_part_outside_is_refused(tmp_path: Path, name: str, window) -> None:
    path = write(tmp_path / name)
    with pytest.raises(DatasetError, match="the part lies outside the image") as caught:
        read_image_window(path, window)
    assert str(path) in str(caught.value)
    assert "inside 61 x 83 (height x width)" in str(caught.value)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_part_of_a_turned_tiff_is_that_of_the_upright_one(
    tmp_path: Path, orientation: int
) -> None:
    path = tmp_path / "a.tif"
    tag = (274, "H", 1, orientation, True)
    tifffile.imwrite(path, COLOURS, photometric="rgb", tile=(16, 16), extratags=[tag])
    upright = read_image(path)
    assert upright.shape[:2] == ((83, 61) if orientation > 4 else (61, 83))
    with Image.open(path) as opened:  # Pillow turns TIFF when it decodes them
        opened.load()
        assert np.array_equal(upright, np.asarray(opened))
    window = (7, 11, 40, 33)
    assert np.array_equal(read_image_window(path, window), upright[7:47, 11:44])


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    orientation=st.integers(1, 8),
    data=st.data(),
)
def test_turning_a_part_is_a_part_of_the_turned(height, width, orientation, data) -> None:
    stored = np.arange(height * width).reshape(height, width)
    upright = turned(stored, orientation)
    assert upright.shape == ((width, height) if turns_sides(orientation) else (height, width))
    top = data.draw(st.integers(0, upright.shape[0] - 1))
    left = data.draw(st.integers(0, upright.shape[1] - 1))
    rows = data.draw(st.integers(1, upright.shape[0] - top))
    columns = data.draw(st.integers(1, upright.shape[1] - left))
    y, x, h, w = turned_window((top, left, rows, columns), stored.shape, orientation)
    part = turned(stored[y : y + h, x : x + w], orientation)
    assert np.array_equal(part, upright[top : top + rows, left : left + columns])


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.integers(8, 48),
    overlap=st.integers(0, 7),
    tile=st.sampled_from([16, 32]),
)
def test_tiles_stitched_are_the_image(
    tmp_path_factory: pytest.TempPathFactory, height, width, side, overlap, tile
) -> None:
    path = tmp_path_factory.mktemp("tiles") / "a.tif"
    whole = np.random.default_rng(height * 100 + width).integers(0, 9999, (height, width))
    whole = whole.astype(np.uint16)
    tifffile.imwrite(path, whole, tile=(tile, tile), compression="zlib")
    stitched = np.full(whole.shape, 65535, np.uint16)
    for window in windows_of((height, width), side, overlap=overlap):
        top, left, rows, columns = window
        part = read_image_window(path, window)
        seen = stitched[top : top + rows, left : left + columns]
        known = seen != 65535
        assert np.array_equal(seen[known], part[known])  # neighbours agree where they overlap
        stitched[top : top + rows, left : left + columns] = part
    assert np.array_equal(stitched, whole)


def test_memory_is_that_of_the_part(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "large.tif"
    side, tile = 6144, 256
    row = np.arange(side, dtype=np.uint16)

    def tiles():
        for top in range(0, side, tile):
            for left in range(0, side, tile):
                yield np.add.outer(row[top : top + tile], row[left : left + tile])

    tifffile.imwrite(
        path, tiles(), shape=(side, side), dtype=np.uint16, tile=(tile, tile), compression="zlib"
    )
    # The whole may not even be read: it is larger than allowed.
    monkeypatch.setenv("SAMFT_MAX_BYTES", str(16 * 2**20))
    with pytest.raises(DatasetError, match="more memory than allowed"):
        read_image(path)
    read_image_window(path, (0, 0, 8, 8))
    tracemalloc.start()
    part = read_image_window(path, (3000, 2900, 512, 512))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(part, np.add.outer(row[3000:3512], row[2900:3412]))
    assert peak < 4 * 2**20  # the whole takes 75 MB, the part half a megabyte


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_labels(tmp_path: Path, ending: str) -> None:
    labels = discs(3)
    path = save(tmp_path / f"a.{ending}", (labels * 300).astype(np.uint16))
    found = read_label_window(path, (9, 5, 30, 41))
    assert found.dtype == np.int32
    assert np.array_equal(found, read_label_map(path)[9:39, 5:46])
    assert np.array_equal(found, labels[9:39, 5:46] * 300)


def test_labels_with_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "tiles.tif")
    with pytest.raises(DatasetError, match="the mask has colours") as caught:
        read_label_window(path, (0, 0, 8, 8))
    assert "3 channels that differ" in str(caught.value)
    same = np.dstack([COLOURS[..., 0]] * 3)
    tifffile.imwrite(path, same, photometric="rgb", tile=(16, 16))
    assert np.array_equal(read_label_window(path, (3, 3, 8, 8)), COLOURS[3:11, 3:11, 0])
