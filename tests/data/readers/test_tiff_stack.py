"""TIFF stacks."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from samft.data.readers.tiff_stack import read_stack, stack_shape
from samft.errors import DatasetError


@pytest.mark.parametrize(
    ("shape", "settings", "channels"),
    [
        ((4, 9, 7), {"photometric": "minisblack"}, 1),
        ((4, 9, 7, 3), {"photometric": "rgb"}, 3),
        ((4, 2, 9, 7), {"imagej": True, "metadata": {"axes": "ZCYX"}}, 2),
        ((5, 9, 7), {"ome": True, "metadata": {"axes": "TYX"}}, 1),
    ],
)
def test_stacks(tmp_path: Path, shape, settings, channels) -> None:
    array = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, array, **settings)
    assert stack_shape(path) == (shape[0], 9, 7)
    read = read_stack(path)
    assert read.shape == (channels, shape[0], 9, 7)
    expected = array[None] if channels == 1 else np.moveaxis(array, {3: -1, 2: 1}[channels], 0)
    assert np.array_equal(read, expected)


def test_a_flat_image_is_none(tmp_path: Path) -> None:
    path = tmp_path / "flat.tif"
    tifffile.imwrite(path, np.zeros((9, 7), np.uint16))
    assert stack_shape(path) is None
    with pytest.raises(DatasetError, match="the TIFF is no stack"):
        read_stack(path)


def test_a_cut_off_stack(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.zeros((4, 90, 70), np.uint16), photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        stack_shape(path)
    assert "stack.tif" in str(caught.value)
