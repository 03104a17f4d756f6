"""TIFF with every order of axes: planes are time points and depths, channels are channels."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from samft.data.readers import tiff_axes
from samft.data.readers.tiff import probe_tiff, read_tiff, read_tiff_window
from samft.data.readers.tiff_spacing import read_tiff_voxel
from samft.data.readers.tiff_stack import (
    is_stack,
    read_label_stack,
    read_stack,
    read_stack_plane,
    stack_header,
    stack_shape,
)
from samft.errors import DatasetError

SIDES = {"T": 2, "Z": 3, "C": 4, "Y": 26, "X": 20, "S": 3, "Q": 5}
OME = {"ome": True}
TILES = {"compression": "zlib", "tile": (16, 16)}
RGB = {"photometric": "rgb"}


def pixels(axes: str) -> NDArray[np.uint16]:
    shape = [SIDES[axis] for axis in axes]
    return np.random.default_rng(0).integers(0, 60000, shape).astype(np.uint16)


def sorted_axes(array: NDArray[np.uint16], axes: str) -> NDArray[np.uint16]:
    """Return (channels, planes, Y, X) the long way."""
    order = [axes.index(axis) for axis in "CSQTZYX" if axis in axes]
    channels = int(np.prod([SIDES[axis] for axis in axes if axis in "CS"]))
    return array.transpose(order).reshape(channels, -1, SIDES["Y"], SIDES["X"])


@pytest.mark.parametrize(
    ("axes", "settings"),
    [
        ("TZCYX", {"imagej": True}),
        ("ZCYX", {"imagej": True}),
        ("TYX", {"imagej": True}),
        ("TZCYX", OME),
        ("CTZYX", OME),
        ("ZTCYX", OME),
        ("CZYX", OME),
        ("TCYX", OME),
        ("CYX", OME),
        ("ZYX", {**OME, **TILES}),
        ("TZYX", {**OME, "compression": "zlib", "rowsperstrip": 7}),
        ("TZCYXS", {**OME, **RGB, **TILES}),
        ("CYXS", {**OME, **RGB}),
        ("YXS", {**RGB, **TILES}),
        ("SYX", {**RGB, **TILES, "planarconfig": "separate"}),
        ("ZSYX", {**OME, **RGB, **TILES, "planarconfig": "separate"}),
        ("ZYX", {**OME, "bigtiff": True, "byteorder": ">"}),
        ("ZYX", {**OME, "compression": "zlib", "predictor": 2, "byteorder": ">"}),
        ("QYX", {}),
    ],
)
def test_every_order_of_axes(tmp_path: Path, axes: str, settings: dict[str, object]) -> None:
    array, path = pixels(axes), tmp_path / "a.tif"
    metadata = {} if axes in ("QYX", "SYX", "YXS") else {"metadata": {"axes": axes}}
    tifffile.imwrite(path, array, **settings, **metadata)
    expected = sorted_axes(array, axes)
    part = (5, 3, 19, 16)
    if expected.shape[1] == 1:
        assert stack_header(path) is None
        every = read_tiff(path, every_channel=True)
        assert np.array_equal(np.moveaxis(every, -1, 0), expected[:, 0])
        window = read_tiff_window(path, part, every_channel=True)
        assert np.array_equal(window, every[5:24, 3:19])
        return
    header = stack_header(path)
    assert header is not None
    assert header.shape == expected.shape[1:]
    assert header.channels == len(expected)
    assert header.nbytes == array.nbytes
    assert np.array_equal(read_stack(path), expected)
    for index in range(expected.shape[1]):
        plane = read_stack_plane(path, index, window=part)
        assert np.array_equal(plane, expected[:, index, 5:24, 3:19])
        assert plane.dtype == np.dtype(np.uint16)


def test_axes_of_length_one_do_not_make_a_stack(tmp_path: Path) -> None:
    array = pixels("YX")
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, array[None, None, None], ome=True, metadata={"axes": "TZCYX"})
    assert stack_shape(path) is None
    assert np.array_equal(read_tiff(path), array)
    tifffile.imwrite(path, array[None, :1], ome=True, metadata={"axes": "ZYX"})
    assert read_tiff(path).shape == (1, SIDES["X"])  # one row is still an image


@pytest.mark.parametrize("tiled", [True, False])
def test_a_pyramid_is_read_at_full_resolution(tmp_path: Path, tiled: bool) -> None:
    array, path = pixels("YX"), tmp_path / "a.tif"
    layout = {"tile": (16, 16)} if tiled else {}
    with tifffile.TiffWriter(path) as writer:
        writer.write(array, subifds=2, compression="zlib", **layout)
        for step in (2, 4):
            writer.write(array[::step, ::step], subfiletype=1, compression="zlib", **layout)
    assert probe_tiff(path) == array.shape
    assert np.array_equal(read_tiff(path), array)
    assert np.array_equal(read_tiff_window(path, (4, 2, 9, 17)), array[4:13, 2:19])


def test_of_several_images_the_first_is_used(tmp_path: Path, caplog) -> None:
    array, path = pixels("YX"), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(array)
        writer.write(np.zeros((8, 9, 3), np.uint8), photometric="rgb")  # a preview
    tiff_axes._say_first.cache_clear()
    with caplog.at_level(logging.INFO, logger="samft"):
        for _ in range(3):
            assert np.array_equal(read_tiff(path), array)
    assert caplog.text.count("holds 2 images of different kinds; the first is used") == 1


def test_a_label_stack(tmp_path: Path) -> None:
    labels = (pixels("ZYX") % 9).astype(np.uint16)
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, labels, photometric="minisblack", metadata={"axes": "ZYX"})
    found = read_label_stack(path)
    assert found.dtype == np.int32
    assert np.array_equal(found, labels)
    tifffile.imwrite(path, np.stack([labels] * 3, axis=-1).astype(np.uint8), photometric="rgb")
    assert np.array_equal(read_label_stack(path), labels)  # three equal channels are one
    tifffile.imwrite(path, pixels("ZCYX"), imagej=True)
    with pytest.raises(DatasetError, match="the label stack has channels") as caught:
        read_label_stack(path)
    assert "4 channels that differ" in str(caught.value)
    assert "fix: save the channel that holds the labels" in str(caught.value)
    tifffile.imwrite(path, labels / 2.5, photometric="minisblack")
    with pytest.raises(DatasetError, match="values that are no labels"):
        read_label_stack(path)
    tifffile.imwrite(path, labels[0])
    with pytest.raises(DatasetError, match="the TIFF is no stack"):
        read_label_stack(path)


def test_stacks_are_seen_as_pictures_or_read_as_numbers(tmp_path: Path) -> None:
    codes = (pixels("ZYX") % 256).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, codes, photometric="miniswhite")
    assert np.array_equal(read_stack(path)[0], codes)
    assert np.array_equal(read_stack(path, seen=True)[0], 255 - codes)
    colours = np.zeros((3, 256), np.uint16)
    colours[1] = np.arange(256) * 257
    with tifffile.TiffWriter(path) as writer:
        for plane in codes:
            writer.write(plane, photometric="palette", colormap=colours, contiguous=True)
    assert np.array_equal(read_stack(path)[0], codes)
    assert np.array_equal(read_stack(path, seen=True)[1], codes)
    rgba = np.stack([codes] * 4, axis=-1)
    tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert read_stack(path, seen=True).shape == (3, *codes.shape)
    assert read_stack_plane(path, 1, seen=True).shape == (3, *codes.shape[1:])


def test_no_such_plane(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("ZYX"), photometric="minisblack")
    with pytest.raises(DatasetError, match="has no such plane") as caught:
        read_stack_plane(path, 3)
    assert "expected: 0 to 2" in str(caught.value)


XML = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
    '2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
    'SizeX="20" SizeY="26" SizeZ="{depths}" SizeC="1" SizeT="{times}">{data}</Pixels></Image></OME>'
)
WHOLE = '<TiffData IFD="0" PlaneCount="3"/>'


def test_metadata_that_announces_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    settings = {"metadata": None, "photometric": "minisblack"}
    text = XML.format(depths=3, times=1, data=WHOLE)
    tifffile.imwrite(path, pixels("ZYX"), description=text, **settings)
    assert stack_shape(path) == (3, SIDES["Y"], SIDES["X"])
    text = XML.format(depths=3, times=999999999999999, data=WHOLE)
    tifffile.imwrite(path, pixels("ZYX"), description=text, **settings)
    for read in (stack_shape, read_tiff):
        with pytest.raises(DatasetError, match="cannot be read") as caught:
            read(path)
        assert "999999999999999" in str(caught.value)
    assert not is_stack(path)
    text = XML.format(depths=3, times=1, data=WHOLE).replace("<OME", "<!ENTITY a 'b'><OME")
    tifffile.imwrite(path, pixels("ZYX"), description=text, **settings)
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_tiff(path)
    assert "entities" in str(caught.value)


def test_imagej_that_announces_more_planes_than_there_are(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    text = "ImageJ=1.53\nimages=90000\nslices=90000\nmode=grayscale\n"
    tifffile.imwrite(path, pixels("YX"), description=text, metadata=None)
    for read in (stack_shape, read_tiff, probe_tiff):
        with pytest.raises(DatasetError, match="cannot be read") as caught:
            read(path)
        assert "1 of 90000 planes" in str(caught.value)


@pytest.mark.parametrize("settings", [{"imagej": True}, {"photometric": "minisblack"}])
def test_one_page_with_the_pixels_of_all_behind_it(tmp_path: Path, settings) -> None:
    path = tmp_path / "a.tif"  # as ImageJ writes stacks of more than 4 GB
    tifffile.imwrite(path, pixels("ZYX"), truncate=True, metadata={"axes": "ZYX"}, **settings)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    assert np.array_equal(read_stack(path)[0], pixels("ZYX"))
    assert np.array_equal(read_stack_plane(path, 2)[0], pixels("ZYX")[2])
    path.write_bytes(path.read_bytes()[:-100])
    for read in (stack_shape, read_tiff):
        with pytest.raises(DatasetError, match="cannot be read"):
            read(path)


def test_names_of_other_files_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ome.tif"
    tifffile.imwrite(secret, pixels("YX"), ome=True)
    inside = tmp_path / "data" / "a.ome.tif"
    inside.parent.mkdir()
    other = (
        '<TiffData IFD="0" FirstZ="0" PlaneCount="1"/><TiffData IFD="0" FirstZ="1" PlaneCount="1">'
        '<UUID FileName="../secret.ome.tif">urn:uuid:11111111-1111-1111-1111-111111111111</UUID>'
        "</TiffData>"
    )
    xml = XML.format(depths=2, times=1, data=other)
    own = np.zeros((26, 20), np.uint16)
    tifffile.imwrite(inside, own, description=xml, metadata=None)
    assert stack_shape(inside) is None
    assert np.array_equal(read_tiff(inside), own)


def test_complex_numbers_are_no_grey_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 9), np.complex64))
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_tiff(path)
    assert "complex64" in str(caught.value)


def test_random_bytes_in_a_stack_never_escape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.tif"
    for settings in ({"imagej": True}, {"ome": True, **TILES}):
        tifffile.imwrite(path, pixels("ZCYX"), metadata={"axes": "ZCYX"}, **settings)
        data = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(60):
            hit = data.copy()
            places = rng.integers(0, len(hit) if rng.random() < 0.5 else 800, 4)
            hit[places.clip(max=len(hit) - 1)] = rng.integers(0, 256, 4)
            path.write_bytes(hit.tobytes())
            for read in (read_stack, lambda p: read_stack_plane(p, 0, window=(0, 0, 4, 4))):
                try:
                    read(path)
                except DatasetError as error:
                    assert len(str(error).splitlines()) <= 3


def test_a_strip_that_points_behind_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("YX"), compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(path) as file:
        tag = file.pages[0].tags["StripOffsets"]
        place = tag.valueoffset
    stored = bytearray(path.read_bytes())
    struct.pack_into("<I", stored, place, 2**31)
    path.write_bytes(bytes(stored))
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        read_tiff_window(path, (0, 0, 4, 4))
    assert "its index points to byte" in str(caught.value)


@pytest.mark.parametrize("back_to", [0, 1])
@pytest.mark.parametrize("pages", [2, 120])
@pytest.mark.parametrize("settings", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_a_list_of_pages_that_is_a_ring(tmp_path: Path, settings, pages: int, back_to: int) -> None:
    path = tmp_path / "a.tif"
    planes = np.zeros((pages, 4, 5), np.uint8)
    tifffile.imwrite(path, planes, photometric="minisblack", metadata=None, **settings)
    with tifffile.TiffFile(path) as file:
        offsets, tiff = [page.offset for page in file.pages], file.tiff
    data = bytearray(path.read_bytes())
    order = "little" if tiff.byteorder == "<" else "big"
    last = offsets[-1]
    count = int.from_bytes(data[last : last + tiff.tagnosize], order)
    end = last + tiff.tagnosize + count * tiff.tagsize
    assert not any(data[end : end + tiff.offsetsize])
    data[end : end + tiff.offsetsize] = offsets[back_to].to_bytes(tiff.offsetsize, order)
    path.write_bytes(data)
    for read in (read_tiff, stack_shape, read_stack, read_tiff_voxel):
        with pytest.raises(DatasetError, match="cannot be read") as caught:
            read(path)
        assert f"comes back to byte {offsets[back_to]}" in str(caught.value)


@pytest.mark.parametrize("volumetric", [True, False])
def test_more_tiles_than_the_index_has(tmp_path: Path, volumetric: bool) -> None:
    path = tmp_path / "a.tif"
    planes = np.ones((3, 9, 8), np.uint8)
    tile = (1, 16, 16) if volumetric else (16, 16)
    tifffile.imwrite(
        path, planes, photometric="minisblack", volumetric=volumetric, tile=tile, metadata=None
    )
    assert read_stack(path).all()
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        places = [page.tags["ImageWidth"].valueoffset for page in file.pages]
    for place in places:
        struct.pack_into("<I", data, place, 32_773)
    path.write_bytes(data)
    reads = [stack_shape, read_stack]
    if volumetric:  # of flat pages a part is read by itself
        reads.append(lambda one: read_stack_plane(one, 0))
    for read in reads:
        with pytest.raises(DatasetError, match="cannot be read") as caught:
            read(path)
        assert "tiles or strips" in str(caught.value)
