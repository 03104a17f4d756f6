"""Pixel sizes, wherever a TIFF states them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from samft.data.readers.lengths import in_millimetres
from samft.data.readers.tiff_spacing import read_tiff_spacing, read_tiff_voxel
from samft.errors import DatasetError

PLANE = np.zeros((12, 10), np.uint16)
STACK = np.zeros((3, 12, 10), np.uint16)


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.5, "um", 0.0005),
        ("0.5", "µm", 0.0005),
        (0.5, "\u03bcm", 0.0005),
        (0.5, "\\u00B5m", 0.0005),
        (0.5, "&#181;m", 0.0005),
        (0.5, "micron", 0.0005),
        (0.5, "microns", 0.0005),
        (0.5, "micrometer", 0.0005),
        (0.5, "micrometre", 0.0005),
        (7, "nanometer", 7e-6),
        (2, "Å", 2e-7),
        (2, "angstrom", 2e-7),
        (2, "mm", 2.0),
        (2, "Millimeter", 2.0),
        (3, "centimeter", 30.0),
        (1, "meter", 1000.0),
        (1, "inch", 25.4),
        (1, "pixel", None),
        (1, "reference frame", None),
        (0, "um", None),
        (-1, "um", None),
        (float("nan"), "um", None),
        (float("inf"), "um", None),
        ("wide", "um", None),
        (None, "um", None),
        (1, None, None),
    ],
)
def test_units(value: object, unit: object, expected: float | None) -> None:
    found = in_millimetres(value, unit)
    assert found == (None if expected is None else pytest.approx(expected))


def test_ome(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX", **sizes})  # µm, if not said
    assert read_tiff_voxel(path) == pytest.approx((0.002, 0.0005, 0.00025))
    units = {"PhysicalSizeXUnit": "nm", "PhysicalSizeYUnit": "mm", "PhysicalSizeZUnit": "Å"}
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX", **sizes, **units})
    assert read_tiff_voxel(path) == pytest.approx((2e-7, 0.5, 2.5e-7))
    units["PhysicalSizeXUnit"] = "pixel"
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX", **sizes, **units})
    assert read_tiff_spacing(path) is None


def test_imagej(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        STACK,
        imagej=True,
        resolution=(4.0, 2.0),  # pixels per micron along x and y
        metadata={"axes": "ZYX", "unit": "micron", "spacing": 1.5},
    )
    assert read_tiff_voxel(path) == pytest.approx((0.0015, 0.0005, 0.00025))
    assert read_tiff_spacing(path) == pytest.approx((0.0005, 0.00025))
    tifffile.imwrite(path, PLANE, imagej=True, resolution=(1, 1), metadata={"unit": "pixel"})
    assert read_tiff_spacing(path) is None


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((50800, 25400), "INCH", (0.001, 0.0005)),
        ((40000, 20000), "CENTIMETER", (0.0005, 0.00025)),
        ((300, 300), "INCH", (0.0846666, 0.0846666)),
        ((72, 72), "INCH", None),
        ((96, 96), "INCH", None),
        ((1, 1), "INCH", None),
        ((40000, 40000), "NONE", None),
    ],
)
def test_resolution_tags(tmp_path: Path, resolution, unit: str, expected) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANE, resolution=resolution, resolutionunit=unit)
    found = read_tiff_spacing(path)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-4))


def test_aperio(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    text = "Aperio Image Library v11.2.1 \r\n10x12 [0,0 10x12] (16x16) |AppMag = 40|MPP = 0.2520"
    rgb = np.zeros((32, 32, 3), np.uint8)
    tifffile.imwrite(path, rgb, tile=(16, 16), description=text, metadata=None)
    assert read_tiff_spacing(path) == pytest.approx((0.000252, 0.000252))


def test_nothing_stated_and_no_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PLANE)
    assert read_tiff_spacing(path) is None
    path.write_bytes(b"II*\0 and then nothing")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_tiff_spacing(path)
