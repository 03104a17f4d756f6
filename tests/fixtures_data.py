"""Tiny data sets on disk, one per layout: bright round objects on a dark, noisy ground."""

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 48, 64
SPACING_MM = (0.8, 0.8, 5.0)  # x, y, z


def discs(
    seed: int, *, count: int = 4, size: tuple[int, int] = (HEIGHT, WIDTH), radius: float = 6
) -> NDArray[np.int32]:
    """Return a label map with `count` discs that do not touch."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    y, x = np.indices(size)
    for value in range(1, count + 1):
        for _ in range(100):
            cy, cx = rng.uniform(radius + 1, np.array(size) - radius - 1)
            near = (y - cy) ** 2 + (x - cx) ** 2 <= (radius + 2) ** 2
            if not labels[near].any():
                labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = value
                break
    return labels


def picture(labels: NDArray[np.int32], seed: int) -> NDArray[np.uint8]:
    """Return a grey picture in which objects are bright."""
    noise = np.random.default_rng(seed).normal(0, 8, labels.shape)
    return np.clip(np.where(labels > 0, 190, 50) + noise, 0, 255).astype(np.uint8)


def save(path: Path, array: NDArray[np.generic]) -> Path:
    """Write an image file of any format, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


def write_nifti(path: Path, zyx: NDArray[np.generic], *, codes: str = "RAS") -> Path:
    """Write a volume whose axes (x, y, z) run right, anterior, superior, stored as `codes` say.

    A fourth axis holds channels.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = zyx.transpose(2, 1, 0, *range(3, zyx.ndim))
    image = nibabel.Nifti1Image(values, np.diag([*SPACING_MM, 1.0]))
    target = nibabel.orientations.axcodes2ornt(tuple(codes))
    current = nibabel.io_orientation(image.affine)
    change = nibabel.orientations.ornt_transform(current, target)
    nibabel.save(image.as_reoriented(change), path)
    return path


def ct_volume(seed: int, slices: int = 6) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a CT-like volume (Z, Y, X) in Hounsfield units and its labels 0, 1, 2."""
    size = (24, 20)
    labels = np.zeros((slices, *size), np.uint8)
    y, x = np.indices(size)
    for z in range(1, slices - 1):  # the first and last slice are empty
        labels[z][(y - 8) ** 2 + (x - 6) ** 2 <= 16] = 1
        labels[z][(y - 15) ** 2 + (x - 13) ** 2 <= 12] = 2
    noise = np.random.default_rng(seed).normal(0, 15, labels.shape)
    values = np.choose(labels, (-60, 120, 220)) + noise
    return values.astype(np.int16), labels


@pytest.fixture(scope="session")
def dsb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images, 4 objects each, in the layout of DSB2018: one PNG per object, RGBA images."""
    root = tmp_path_factory.mktemp("dsb")
    for number in range(6):
        labels = discs(number)
        grey = picture(labels, number)
        rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
        case = root / "stage1_train" / f"case{number}"
        save(case / "images" / f"case{number}.png", rgba)
        for value in range(1, labels.max() + 1):
            save(case / "masks" / f"{value:02d}.png", (labels == value).astype(np.uint8) * 255)
    return root


@pytest.fixture(scope="session")
def label_tiff_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five 16-bit TIFF images with 16-bit label images beside them, labels not consecutive."""
    root = tmp_path_factory.mktemp("label_tiff")
    for number in range(5):
        labels = discs(number, count=3)
        save(root / f"field{number}.tif", picture(labels, number).astype(np.uint16) * 40 + 500)
        save(root / f"field{number}_masks.tif", (labels * 7).astype(np.uint16))
    return root


@pytest.fixture(scope="session")
def ct_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four CT volumes (6 slices, 2 classes) with labels, NIfTI, the last in another orientation."""
    root = tmp_path_factory.mktemp("ct")
    for number in range(4):
        values, labels = ct_volume(number)
        codes = "LPS" if number == 3 else "RAS"
        write_nifti(root / "images" / f"case_{number:03d}.nii.gz", values, codes=codes)
        write_nifti(root / "labels" / f"case_{number:03d}.nii.gz", labels)
    return root


@pytest.fixture(scope="session")
def seg_nrrd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One CT volume of 12 slices as NRRD with a 3D Slicer segmentation: liver, spleen."""
    root = tmp_path_factory.mktemp("seg_nrrd")
    values, labels = ct_volume(0, slices=12)
    geometry = {
        "space": "left-posterior-superior",
        "space directions": np.diag([0.8, 0.8, 5.0]),
        "space origin": np.zeros(3),
    }
    names = {
        "Segment0_Name": "liver",
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment1_Name": "spleen",
        "Segment1_LabelValue": "2",
        "Segment1_Layer": "0",
    }
    nrrd.write(str(root / "ct.nrrd"), values.transpose(2, 1, 0), geometry)
    nrrd.write(str(root / "ct.seg.nrrd"), labels.transpose(2, 1, 0), geometry | names)
    return root


@pytest.fixture(scope="session")
def suim_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five JPEG images with BMP masks in SUIM's colours: fish and reefs on background."""
    root = tmp_path_factory.mktemp("suim")
    for number in range(5):
        labels = discs(number, count=3, radius=8)
        grey = picture(labels, number)
        colours = np.array([(0, 0, 0), (255, 255, 0), (255, 0, 255), (255, 255, 0)], np.uint8)
        save(root / "images" / f"dive_{number}_.jpg", np.dstack([grey // 2, grey, grey]))
        save(root / "masks" / f"dive_{number}_.bmp", colours[labels])
    return root


@pytest.fixture(scope="session")
def index_mask_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train (4) and test (2) images with index masks: classes 0 and 1 are real, 255 is unknown."""
    root = tmp_path_factory.mktemp("index_mask")
    for number in range(6):
        split = "train" if number < 4 else "test"
        labels = discs(number, count=2, radius=8)
        mask = (labels > 0).astype(np.uint8)
        mask[:4] = 255
        grey = picture(labels, number)
        save(root / "images" / split / f"tile{number}.png", np.dstack([grey, grey, grey // 2]))
        save(root / "labels" / split / f"tile{number}.png", mask)
    return root
