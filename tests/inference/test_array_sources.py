"""Large arrays: axes, channels, ranges, files that are opened without being read."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from threshold_models import GuardedArray

from samft import ImageSource, VolumeSource, open_array, sampled_range
from samft.errors import ConfigError, DatasetError


def values(*shape: int):
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "axes", "found"),
    [
        ((30, 40), None, "YX"),
        ((30, 40, 3), None, "YXC"),
        ((30, 40, 4), None, "YXC"),
        ((2, 30, 40), None, "CYX"),
        ((3, 30, 3), None, "YXC"),
        ((3, 30, 3), "CYX", "CYX"),
        ((1, 30, 40), None, "CYX"),
    ],
)
def test_image_axes_and_channels(shape, axes, found) -> None:
    array = values(*shape)
    source = ImageSource(array, axes=axes)
    assert source.axes == found
    planes = np.moveaxis(array, found.index("C"), 2) if "C" in found else array[:, :, None]
    assert source.size == planes.shape[:2]
    part = source.read((1, 2, 3, 7))
    expected = planes[2:7, 1:3]
    if expected.shape[2] == 1:
        expected = expected.repeat(3, axis=2)
    if expected.shape[2] == 2:
        assert np.array_equal(part[:, :, 2], (expected.sum(axis=2) / 2).astype(np.uint8))
        expected, part = expected[:, :, :2], part[:, :, :2]
    assert part.dtype == np.uint8
    assert np.array_equal(part, expected[:, :, :3])


@pytest.mark.parametrize("axes", ["ZYX", "ZYXC", "ZCYX"])
@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_slices_of_volumes(axes, axis) -> None:
    array = values(*({"Z": 5, "Y": 6, "X": 7, "C": 3}[name] for name in axes))
    source = VolumeSource(array, axes=axes, axis=axis)
    assert source.shape == (5, 6, 7)
    channels = np.moveaxis(array, axes.index("C"), 3) if "C" in axes else array[..., None]
    channels = np.broadcast_to(channels, (5, 6, 7, 3))
    position = "zyx".index(axis)
    assert source.count == (5, 6, 7)[position]
    for index in (0, source.count - 1):
        expected = channels.take(index, axis=position)
        assert source.slice_size == expected.shape[:2]
        assert np.array_equal(source.read(index), expected)
    assert VolumeSource(array, axis=axis).axes == axes


def test_ranges() -> None:
    deep = np.array([[-500.0, -160, 40, 240, 900]])
    source = ImageSource(deep, value_range=(-160, 240))
    assert source.read((0, 0, 5, 1))[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(DatasetError) as caught:
        ImageSource(deep.astype(np.uint16))
    assert str(caught.value) == (
        "values of more than 8 bits need a range\n"
        "  found: uint16, expected: uint8, or value_range=(low, high)\n"
        "  fix: value_range=samft.sampled_range(array), or a CT window such as (-160, 240)"
    )
    with pytest.raises(ConfigError, match=r"the value range is empty\n  found: 3 to 3"):
        ImageSource(deep, value_range=(3, 3))


def test_sampled_range_is_close_to_that_of_all_values() -> None:
    volume = np.random.default_rng(0).normal(100, 20, (100, 60, 50)).astype(np.float32)
    volume[:, :30] = -1000
    low, high = sampled_range(volume, low=1, high=99)
    assert abs(low - (100 - 20 * 2.326)) < 1
    assert abs(high - (100 + 20 * 2.326)) < 1

    assert sampled_range(GuardedArray(volume, 60 * 50)) == sampled_range(volume)


def test_of_large_planes_rows_are_sampled() -> None:
    image = np.random.default_rng(0).integers(0, 1000, (3, 2000, 2100), dtype=np.uint16)
    low, high = sampled_range(GuardedArray(image, 2100), low=10, high=90)
    assert abs(low - 100) < 10
    assert abs(high - 900) < 10
    assert sampled_range(GuardedArray(image[0], 2100), low=10, high=90)[0] == pytest.approx(
        100, 0.1
    )


def test_arrays_that_are_none() -> None:
    with pytest.raises(DatasetError, match=r"the array is no image\n  found: shape \(4,\)"):
        ImageSource(values(4))
    with pytest.raises(DatasetError, match=r"the array is no volume\n  found: shape \(4, 5\)"):
        VolumeSource(values(4, 5))
    with pytest.raises(
        DatasetError, match=r"there are too many channels\n  found: shape \(9, 9, 7"
    ):
        ImageSource(values(9, 9, 7))
    with pytest.raises(DatasetError, match=r"the axes do not fit\n  found: axes 'XY', shape"):
        ImageSource(values(4, 5), axes="XY")
    with pytest.raises(
        ConfigError, match=r"there is no such axis\n  found: 'Z', expected: z, y or"
    ):
        VolumeSource(values(4, 5, 6), axis="Z")


def test_files_are_opened_without_being_read(tmp_path) -> None:
    array = values(40, 50)
    np.save(tmp_path / "a.npy", array)
    tifffile.imwrite(tmp_path / "plain.tif", array)
    tifffile.imwrite(tmp_path / "tiled.TIFF", array, tile=(16, 16), compression="zlib")
    zarr.create_array(store=str(tmp_path / "a.zarr"), data=array, chunks=(16, 16))
    group = zarr.open_group(str(tmp_path / "ome.zarr"), mode="w")
    group.create_array("0", data=array)
    group.create_array("1", data=array[::2, ::2])
    for name in ("a.npy", "plain.tif", "tiled.TIFF", "a.zarr", "ome.zarr"):
        opened = open_array(tmp_path / name)
        assert type(opened) is not np.ndarray, name
        assert opened.shape == array.shape
        assert np.array_equal(ImageSource(opened).read((3, 4, 30, 20))[..., 0], array[4:20, 3:30])


def test_files_that_cannot_be_opened(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"no such file or folder\n  where: .*none.npy"):
        open_array(tmp_path / "none.npy")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"a.png, expected: .npy, .tif, .tiff, .zarr"):
        open_array(tmp_path / "a.png")
    for name in ("a.npy", "a.tif"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(DatasetError, match=f"the file cannot be read\n  where: .*{name}"):
            open_array(tmp_path / name)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(DatasetError, match="the file cannot be read\n  where: .*a.zarr"):
        open_array(tmp_path / "a.zarr")


def test_the_range_of_nothing() -> None:
    with pytest.raises(DatasetError, match="the array is empty\n  found: shape \\(0, 4, 5\\)"):
        sampled_range(np.zeros((0, 4, 5)))
