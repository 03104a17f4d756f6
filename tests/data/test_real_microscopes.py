"""Real microscope images: counts and values, against decoders that the readers do not use."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from ome_zarr_files import write_image, write_labels

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.ome_zarr import OmeZarrLayout
from samft.data.preprocessing import Preprocessing
from samft.data.readers.image import probe_image, read_image, read_label_map
from samft.data.readers.image_window import read_image_window
from samft.data.readers.tiff_stack import read_label_stack, read_stack
from samft.data.source_files import open_source


def folder(real_data: Path, name: str) -> Path:
    path = real_data / "microscopy" / name
    if not path.is_dir():
        pytest.skip(f"no {name} in {real_data}")
    return path


def test_stardist_volume(real_data: Path) -> None:
    root = folder(real_data, "stardist_nuclei")
    labels = read_label_stack(root / "mask3d.tif")
    assert labels.shape == (31, 61, 57)
    assert np.unique(labels[labels > 0]).size == 51
    (channel,) = read_stack(root / "img3d.tif")
    assert channel.shape == labels.shape
    assert channel.dtype == np.uint16
    assert np.array_equal(channel, tifffile.imread(root / "img3d.tif"))
    source = open_source("img3d.tif", (root / "img3d.tif",), Preprocessing())
    assert len(source.planes) == 31
    assert source.picture(15).shape == (3, 61, 57)
    flat = read_label_map(root / "mask2d.tif")
    assert np.unique(flat[flat > 0]).size == 125


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_stardist_volume_as_ome_zarr(real_data: Path, tmp_path: Path, version: str) -> None:
    root = folder(real_data, "stardist_nuclei")
    image, labels = tifffile.imread(root / "img3d.tif"), tifffile.imread(root / "mask3d.tif")
    path = write_image(tmp_path / "a.zarr", image, "zyx", version=version, chunk=64)
    write_labels(path, "nuclei", labels, "zyx", version=version, chunk=64)
    data = OmeZarrLayout(tmp_path, LayoutSettings())
    (record,) = data.records()
    truth = data.truth(record)
    seen: set[int] = set()
    for index in range(31):
        objects = truth.objects("component", at=(0, index))
        values = np.unique(labels[index])[1:]
        assert objects.object_class.size == values.size
        seen |= set(values.tolist())
    assert len(seen) == 51
    tiff = open_source("a", (root / "img3d.tif",), Preprocessing())
    zarr = data.source(record, Preprocessing())
    assert np.array_equal(zarr.picture(12), tiff.picture(12))


def decoded(path: Path) -> np.ndarray:
    """Return all channels as another program sees them."""
    data = path.read_bytes()
    if path.suffix == ".png":
        return imagecodecs.png_decode(data)
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    return array if array.ndim == 2 else array[..., order[array.shape[2]]]


def test_every_bit_depth_is_exact(real_data: Path) -> None:
    root = folder(real_data, "ivadomed_sem_bitdepths")
    files = sorted(path for path in root.rglob("*") if path.suffix in (".png", ".tif"))
    assert len(files) == 14
    deep = 0
    for path in files:
        expected, found = decoded(path), read_image(path)
        if expected.ndim == 3:
            colours = expected.shape[2] - (expected.shape[2] in (2, 4))
            expected = expected[..., 0] if colours == 1 else expected[..., :colours]
        assert found.dtype == expected.dtype, path.name
        assert np.array_equal(found, expected), path.name
        assert probe_image(path) == found.shape[:2]
        assert np.array_equal(read_image_window(path, (9, 8, 70, 60)), found[9:79, 8:68])
        deep += found.dtype == np.uint16
    assert deep == 6


def test_electron_micrographs_and_masks(real_data: Path) -> None:
    root = folder(real_data, "data_axondeepseg_sem")
    pictures = sorted(root.glob("sub-*/micr/*_SEM.png"))
    assert len(pictures) >= 6
    for path in pictures:
        expected = imagecodecs.png_decode(path.read_bytes())
        grey = expected if expected.ndim == 2 else expected[..., 0]
        found = read_image(path)
        assert np.array_equal(found if found.ndim == 2 else found[..., 0], grey)
    masks = sorted(root.glob("derivatives/labels/*/micr/*_seg-axonmyelin-manual.png"))
    for path in masks:
        expected = imagecodecs.png_decode(path.read_bytes())
        assert np.array_equal(read_label_map(path), expected if expected.ndim == 2
                              else expected[..., 0])  # fmt: skip
    assert masks
    assert json.loads((root / "dataset_description.json").read_text())
