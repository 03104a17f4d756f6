"""OME-Zarr, versions 0.4 and 0.5, as other programs write it."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from ome_zarr_files import write_array, write_group, write_image, write_labels

from samft.data.readers.ome_zarr import OmeZarrImage
from samft.data.readers.ome_zarr_groups import find_zarrs, image_names, label_images
from samft.data.readers.zarr_nodes import read_node
from samft.errors import DatasetError

SIDES = {"t": 2, "c": 3, "z": 4, "y": 70, "x": 50}
VARIANTS = {
    "0.4 nested": {"version": "0.4", "separator": "/"},
    "0.4 flat": {"version": "0.4", "separator": "."},
    "0.5": {"version": "0.5"},
    "0.5 shards": {"version": "0.5", "shards": True},
}


def pixels(axes: str) -> NDArray[np.uint16]:
    shape = [SIDES[axis] for axis in axes]
    return np.random.default_rng(0).integers(0, 60000, shape).astype(np.uint16)


def sorted_axes(array: NDArray[np.uint16], axes: str) -> NDArray[np.uint16]:
    """Return (channels, planes, Y, X) the long way."""
    order = [axes.index(axis) for axis in "ctzyx" if axis in axes]
    return array.transpose(order).reshape(SIDES["c"] if "c" in axes else 1, -1, 70, 50)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tyx", "czyx", "tcyx", "tzyx", "tczyx"])
def test_every_subset_of_axes(tmp_path: Path, axes: str, variant: str) -> None:
    array = pixels(axes)
    image = OmeZarrImage(write_image(tmp_path / "a.zarr", array, axes, **VARIANTS[variant]))
    expected = sorted_axes(array, axes)
    assert image.axes == axes
    assert image.shape() == expected.shape[1:]
    assert (image.num_planes, image.num_channels) == (expected.shape[1], expected.shape[0])
    assert image.extent()[:2] == tuple(SIDES[a] if a in axes else 1 for a in "tz")
    for index in {0, expected.shape[1] // 2, expected.shape[1] - 1}:
        assert np.array_equal(image.plane(index), expected[:, index])
        part = image.plane(index, window=(30, 7, 35, 41))
        assert np.array_equal(part, expected[:, index, 30:65, 7:48])
        assert part.dtype == np.dtype(np.uint16)
    assert np.array_equal(image.across(1, 69), expected[:, :, 69])
    assert np.array_equal(image.across(2, 3), expected[:, :, :, 3])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_resolutions(tmp_path: Path, version: str) -> None:
    array = pixels("zyx")
    image = OmeZarrImage(write_image(tmp_path / "a", array, "zyx", version=version, levels=3))
    assert image.num_levels == 3
    assert [image.size(level) for level in range(3)] == [(70, 50), (35, 25), (18, 13)]
    assert np.array_equal(image.plane(2, level=1)[0], array[2, ::2, ::2])
    assert np.array_equal(image.plane(2, level=2, window=(1, 2, 9, 10))[0],
                          array[2, ::4, ::4][1:10, 2:12])  # fmt: skip
    assert [image.level_for(factor) for factor in (1, 1.9, 2, 3.8, 4, 99)] == [0, 0, 1, 1, 2, 2]


def test_spacing(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a", pixels("zyx"), "zyx", micrometres=0.25)
    assert OmeZarrImage(path).spacing_mm == pytest.approx((0.00025,) * 3)
    path = write_image(tmp_path / "b", pixels("yx"), "yx", micrometres=None)
    assert OmeZarrImage(path).spacing_mm is None
    notes = json.loads((tmp_path / "a" / ".zattrs").read_text())
    multiscale = notes["multiscales"][0]
    multiscale["coordinateTransformations"] = [
        {"type": "scale", "scale": [4.0, 2.0, 1.0]},
        {"type": "translation", "translation": [9.0, 9.0, 9.0]},
    ]
    multiscale["axes"][2]["unit"] = "nanometer"
    write_group(tmp_path / "a", notes)
    assert OmeZarrImage(tmp_path / "a").spacing_mm == pytest.approx((0.001, 0.0005, 2.5e-7))
    multiscale["datasets"][0]["coordinateTransformations"] = [{"type": "scale", "path": "sizes"}]
    write_group(tmp_path / "a", notes)
    assert OmeZarrImage(tmp_path / "a").spacing_mm is None


def test_channels_and_what_is_no_text_among_their_names(tmp_path: Path) -> None:
    channels = [{"label": "DAPI", "color": "0000FF"}, {"color": "00FF00"}, {"label": 7}]
    notes = {"omero": {"channels": channels}}
    path = write_image(tmp_path / "a", pixels("cyx"), "cyx", notes=notes)
    assert OmeZarrImage(path).channel_names == ("DAPI", "channel 1", "7")
    write_image(tmp_path / "b", pixels("cyx"), "cyx", notes={"omero": [1]})
    assert OmeZarrImage(tmp_path / "b").channel_names == ()


@pytest.mark.parametrize(
    ("stated", "letters"),
    [
        (["t", "c", "z", "y", "x"], "tczyx"),  # version 0.3
        (None, "tczyx"),  # version 0.1 and 0.2
        ([{"name": n} for n in ("T", "Channel", "Z", "Y", "X")], "tczyx"),
        ([{"name": n, "type": k} for n, k in (("frames", "time"), ("stain", "channel"),
          ("depth", "space"), ("row", "space"), ("column", "space"))], "tczyx"),
    ],
)  # fmt: skip
def test_axes_of_other_versions_and_names(tmp_path: Path, stated, letters: str) -> None:
    path = write_image(tmp_path / "a", pixels("tczyx"), "tczyx")
    notes = json.loads((path / ".zattrs").read_text())
    notes["multiscales"][0]["axes"] = stated
    write_group(path, notes)
    assert OmeZarrImage(path).axes == letters


def test_an_axis_of_another_kind(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a", pixels("tyx")[:1], "tyx")
    notes = json.loads((path / ".zattrs").read_text())
    notes["multiscales"][0]["axes"][0] = {"name": "angle", "type": "angle"}
    write_group(path, notes)
    image = OmeZarrImage(path)
    assert image.axes == "?yx"
    assert np.array_equal(image.plane(0)[0], pixels("tyx")[0])
    longer = write_image(tmp_path / "b", pixels("tyx"), "tyx")
    write_group(longer, notes)
    with pytest.raises(DatasetError, match="an axis of a kind that is not read") as caught:
        OmeZarrImage(longer)
    assert "angle" in str(caught.value)
    assert "expected: t, c, z, y, x" in str(caught.value)


def test_plain_arrays(tmp_path: Path) -> None:
    array = pixels("zyx")
    for version in ("0.4", "0.5"):
        write_array(tmp_path / version, array, "zyx", version)
        image = OmeZarrImage(tmp_path / version)
        assert (image.axes, image.num_levels) == ("zyx", 1)
        assert np.array_equal(image.plane(3)[0], array[3])
    named = zarr.create_array(
        store=str(tmp_path / "named"), shape=(3, 70, 50), chunks=(3, 70, 50), dtype="uint16",
        dimension_names=["c", "y", "x"],
    )  # fmt: skip
    named[...] = pixels("cyx")
    assert np.array_equal(OmeZarrImage(tmp_path / "named").plane(0), pixels("cyx"))


@pytest.mark.parametrize(
    "compressor", ["blosc", "zstd", "gzip", "lz4", "zlib", "bz2", "lzma", None]
)
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "|b1", "<f4", "<f2", "|i1", "<u8"])
def test_compressors_and_types(tmp_path: Path, compressor: str | None, dtype: str) -> None:
    import numcodecs

    codec = None if compressor is None else numcodecs.get_codec({"id": compressor})
    array = (np.arange(70 * 50).reshape(70, 50) % 100).astype(dtype)
    stored = zarr.create_array(
        store=str(tmp_path / "a"), shape=array.shape, chunks=(32, 32), dtype=array.dtype,
        zarr_format=2, compressors=codec,
    )  # fmt: skip
    stored[...] = array
    found = OmeZarrImage(tmp_path / "a").plane(0, window=(20, 10, 40, 39))[0]
    assert np.array_equal(found, array[20:60, 10:49])
    assert found.dtype == np.dtype(dtype).newbyteorder("=")


def test_chunks_that_are_not_there_are_filled(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a", pixels("yx"), "yx")
    (path / "0" / "1" / "0").unlink()
    found = OmeZarrImage(path).plane(0)[0]
    assert not found[32:64, :32].any()
    assert np.array_equal(found[:32], pixels("yx")[:32])


def test_an_open_image_travels_to_workers(tmp_path: Path) -> None:
    image = OmeZarrImage(write_image(tmp_path / "a", pixels("yx"), "yx"))
    image.plane(0)
    copy = pickle.loads(pickle.dumps(image))
    assert np.array_equal(copy.plane(0), image.plane(0))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels(tmp_path: Path, version: str) -> None:
    path = write_image(tmp_path / "a.zarr", pixels("cyx"), "cyx", version=version)
    labels = pixels("yx") % 5
    properties = [
        {"label-value": 0, "class": "background"},
        {"label-value": 1, "class": "nucleus", "area": 12},
        {"label-value": 2.0, "class": "nucleus"},
        {"label-value": 4, "class": "debris"},
    ]
    colors = [{"label-value": 1, "rgba": [255, 0, 0, 128]}, {"label-value": 2}]
    settings = {"version": version}
    write_labels(path, "cells", labels, "yx", properties=properties, colors=colors, **settings)
    write_labels(path, "membranes", labels, "yx", **settings)
    cells, membranes = label_images(path, tmp_path)
    assert (cells.name, membranes.name) == ("cells", "membranes")
    assert cells.classes == {1: "nucleus", 2: "nucleus", 4: "debris"}
    assert cells.colours == {1: (255, 0, 0, 128)}
    assert not cells.by_class
    assert membranes.classes == membranes.colours == {}
    assert np.array_equal(OmeZarrImage(cells.folder, tmp_path).plane(0)[0], labels)


def test_label_values_that_are_classes(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", pixels("yx"), "yx")
    one_each = [{"label-value": 1, "class": "nucleus"}, {"label-value": 2, "class": "cytoplasm"}]
    write_labels(path, "a", pixels("yx") % 3, "yx", properties=one_each)
    assert label_images(path, tmp_path)[0].by_class
    of_objects = [{**entry, "predicted_iou": 0.9} for entry in one_each]
    write_labels(path, "a", pixels("yx") % 3, "yx", properties=of_objects)
    assert not label_images(path, tmp_path)[0].by_class
    numbered = [{"label-value": n, "name": f"nucleus {n}"} for n in range(1, 40)]
    write_labels(path, "a", pixels("yx") % 40, "yx", properties=numbered)
    assert label_images(path, tmp_path)[0].classes == {}  # names of objects, not of classes


def test_a_list_of_labels_that_is_missing_or_longer_than_the_folder(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.zarr", pixels("yx"), "yx")
    assert label_images(path, tmp_path) == []
    write_labels(path, "sub", pixels("yx"), "yx")
    (path / "labels" / ".zattrs").unlink()
    assert [label.name for label in label_images(path, tmp_path)] == ["sub"]
    write_group(path / "labels", {"labels": ["sub", "gone"]})
    with pytest.raises(DatasetError, match="a label image is missing") as caught:
        label_images(path, tmp_path)
    assert str(path / "labels" / "gone") in str(caught.value)
    assert "fix: copy it again" in str(caught.value)


def test_entries_without_a_value_are_counted(tmp_path: Path, caplog) -> None:
    path = write_image(tmp_path / "a.zarr", pixels("yx"), "yx")
    properties = [{"class": "x"}, {"label-value": "1"}, {"label-value": 1, "class": "y"}, 7]
    colors = [{"label-value": 1, "rgba": [1, 2, 3]}, {"label-value": 2, "rgba": [1, 2, 3, 999]}]
    write_labels(path, "a", pixels("yx"), "yx", properties=properties, colors=colors)
    with caplog.at_level(logging.WARNING, logger="samft"):
        (found,) = label_images(path, tmp_path)
    assert found.classes == {1: "y"}
    assert "3 of 4 properties name no label-value" in caplog.text
    assert "2 colours are not four numbers" in caplog.text


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_series_and_plates(tmp_path: Path, version: str, caplog) -> None:
    series = write_group(tmp_path / "s.zarr", {"bioformats2raw.layout": 3}, version=version)
    for name in ("0", "1", "2"):
        write_image(series / name, pixels("yx"), "yx", version=version)
    assert image_names(series) == ["0", "1", "2"]
    write_group(series / "OME", {"series": ["1", "0"]}, version=version)
    assert image_names(series) == ["1", "0"]
    wells = [{"path": "A/1"}, {"path": "B/2"}, {"path": "C/3"}]
    plate = write_group(tmp_path / "p.zarr", {"plate": {"wells": wells}}, version=version)
    for well, count in (("A/1", 2), ("B/2", 1)):
        images = [{"path": str(number)} for number in range(count)]
        write_group(plate / well, {"well": {"images": images}}, version=version)
        for number in range(count):
            write_image(plate / well / str(number), pixels("yx"), "yx", version=version)
    with caplog.at_level(logging.WARNING, logger="samft"):
        assert image_names(plate) == ["A/1/0", "A/1/1", "B/2/0"]
    assert "lists 3 wells of which 1 are not there" in caplog.text
    assert image_names(plate / "A" / "1") == ["0", "1"]
    assert find_zarrs(tmp_path) == [plate, series]
    assert find_zarrs(plate) == [plate]
    assert image_names(write_group(tmp_path / "empty", {}, version=version)) == []


def test_what_samft_writes_is_read(tmp_path: Path) -> None:
    from samft.inference.label_stores import create_labels

    labels = (pixels("zyx") % 9).astype(np.int32)
    store = create_labels(tmp_path / "whole.zarr", labels.shape, slice_axis=0)
    store.write((slice(None),) * 3, labels)
    image = OmeZarrImage(tmp_path / "whole.zarr")
    assert image.axes == "zyx"
    assert np.array_equal(np.concatenate([image.plane(z) for z in range(4)]), labels)


def test_no_zarr_and_no_image(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the folder is no zarr") as caught:
        read_node(tmp_path)
    assert "neither zarr.json nor .zgroup" in str(caught.value)
    write_group(tmp_path / "a", {"something": 1})
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        OmeZarrImage(tmp_path / "a")
    assert "a group with something" in str(caught.value)
    assert "expected: an OME-Zarr image" in str(caught.value)
    image = OmeZarrImage(write_image(tmp_path / "b", pixels("yx"), "yx"))
    with pytest.raises(DatasetError, match="no such plane"):
        image.plane(1)
    with pytest.raises(DatasetError, match="the part lies outside the image"):
        image.plane(0, window=(0, 0, 71, 5))
