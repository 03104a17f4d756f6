"""What people get wrong with their data: one clear error before training, in four lines at most."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft.data.medical import MedicalDataModule
from samft.data.microscopy import MicroscopyDataModule
from samft.data.underwater import UnderwaterDataModule
from samft.errors import DatasetError

MODULES = (MedicalDataModule, MicroscopyDataModule, UnderwaterDataModule)


def message(root: Path, module: type = MicroscopyDataModule, **settings) -> str:
    with pytest.raises(DatasetError) as caught:
        module(root=str(root), **settings).prepare_index()
    text = str(caught.value)
    assert 2 <= len(text.splitlines()) <= 4
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four good pairs."""
    for number in range(4):
        labels = discs(number)
        save(tmp_path / "images" / f"{number}.png", picture(labels, number))
        save(tmp_path / "masks" / f"{number}.png", labels.astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("module", MODULES)
def test_missing_folder(tmp_path: Path, module: type) -> None:
    text = message(tmp_path / "none", module)
    assert "the data folder does not exist" in text
    assert str(tmp_path / "none") in text


@pytest.mark.parametrize("module", MODULES)
def test_empty_folder(tmp_path: Path, module: type) -> None:
    text = message(tmp_path, module)
    assert "no images found" in text
    assert str(tmp_path) in text
    assert "the folder is empty" in text
    assert "data.root" in text


@pytest.mark.parametrize("module", MODULES)
def test_image_without_mask(folder: Path, module: type) -> None:
    (folder / "masks" / "2.png").unlink()
    text = message(folder, module)
    assert "1 image has no mask" in text
    assert "images/2.png" in text
    assert "data.on_missing: skip" in text


@pytest.mark.parametrize("module", MODULES)
def test_mask_without_image(folder: Path, module: type) -> None:
    (folder / "images" / "2.png").unlink()
    text = message(folder, module)
    assert "1 mask has no image" in text
    assert "masks/2.png" in text


@pytest.mark.parametrize("check", [True, False])
def test_mismatched_sizes(folder: Path, check: bool) -> None:
    for number in range(4):  # all of them, so that the first one read is wrong, too
        save(folder / "masks" / f"{number}.png", np.zeros((40, 64), np.uint8))
    text = message(folder, check_files=check)
    assert "mask and image sizes differ" in text
    assert str(folder / "masks") in text
    assert str(folder / "images") in text
    assert "40 x 64 (height x width)" in text
    assert "48 x 64 (height x width)" in text


def test_mismatched_size_of_the_last_image_is_found_before_training(folder: Path) -> None:
    save(folder / "masks" / "3.png", np.zeros((40, 64), np.uint8))
    assert str(folder / "masks" / "3.png") in message(folder)


@pytest.mark.parametrize("name", ["images/1.png", "masks/3.png"])
def test_truncated_file(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = message(folder)
    assert "the file cannot be read" in text
    assert str(path) in text
    assert "expected: a PNG, JPEG" in text
    assert "fix: " in text


def test_text_named_like_an_image(folder: Path) -> None:
    (folder / "images" / "0.png").write_text("hello")
    assert "cannot identify image file" in message(folder)


def test_one_image_is_no_data_set(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(discs(0), 0))
    save(tmp_path / "a_mask.png", discs(0).astype(np.uint8))
    text = message(tmp_path)
    assert "too few cases to split" in text
    assert "train and val from 1 case" in text
    assert "data.val_fraction" in text


def test_coloured_masks_where_numbers_count(folder: Path) -> None:
    for number in range(4):
        mask = np.zeros((48, 64, 3), np.uint8)
        mask[:9, :9] = (255, 0, 0)
        save(folder / "masks" / f"{number}.png", mask)
    for module in (MicroscopyDataModule, MedicalDataModule):
        text = message(folder, module)
        assert "the mask has colours" in text
        assert "RGB (255, 0, 0)" in text


def test_value_without_class_name(folder: Path) -> None:
    text = message(folder, MedicalDataModule, classes=["cell", "debris"])
    assert "values that have no class name" in text
    assert "found: 3, 4, expected: 1 cell, 2 debris" in text


def test_truncated_volume(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    for number in range(2):
        write_nifti(tmp_path / "images" / f"{number}.nii.gz", values)
        write_nifti(tmp_path / "labels" / f"{number}.nii.gz", labels)
    path = tmp_path / "images" / "1.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    text = message(tmp_path, MedicalDataModule)
    assert str(path) in text
    assert "the file cannot be read" in text


def test_nothing_is_written(folder: Path) -> None:
    (folder / "masks" / "2.png").unlink()
    before = sorted(folder.rglob("*"))
    message(folder)
    assert sorted(folder.rglob("*")) == before
