"""Instances from every microscopy layout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures_data import discs, picture, save

from samft.data.microscopy import MicroscopyDataModule
from samft.errors import ConfigError, DatasetError


def samples(root: Path, **settings):
    data = MicroscopyDataModule(root=str(root), val_fraction=0, **settings)
    dataset = data.dataset("train")
    return [dataset[i] for i in range(len(dataset))]


def equal_objects(masks: torch.Tensor, labels: np.ndarray) -> bool:
    found = {mask.numpy().tobytes() for mask in masks}
    return found == {(labels == v).tobytes() for v in np.unique(labels) if v > 0}


def test_one_file_per_object(dsb_folder: Path) -> None:
    for number, sample in enumerate(samples(dsb_folder)):
        assert equal_objects(sample.masks(), discs(number))
        assert sample.image.shape == (3, 48, 64)
        assert sample.image.dtype == torch.uint8
        assert np.array_equal(sample.image[0].numpy(), picture(discs(number), number))
        assert sample.object_class.tolist() == [0] * 4


def test_overlapping_files(tmp_path: Path) -> None:
    for name, left in (("a", 5), ("b", 15), ("c", 40)):
        mask = np.zeros((48, 64), np.uint8)
        mask[10:30, left : left + 15] = 255
        save(tmp_path / "x" / "masks" / f"{name}.png", mask)
    save(tmp_path / "x" / "images" / "x.png", picture(discs(0), 0))
    (sample,) = samples(tmp_path)
    assert sample.layers.shape[0] == 2
    assert sample.masks().sum(dim=(1, 2)).tolist() == [300, 300, 300]


def test_label_images_beside(label_tiff_folder: Path) -> None:
    for number, sample in enumerate(samples(label_tiff_folder)):
        assert equal_objects(sample.masks(), discs(number, count=3))
        assert sample.image.dtype == torch.uint8
        assert sample.image.min() == 0
        assert sample.image.max() == 255
        assert torch.equal(sample.image[0], sample.image[2])


def test_label_images_in_folders(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "images" / f"{number}.jpg", picture(discs(number), 0))
        save(tmp_path / "labels" / f"{number}_label.png", discs(number).astype(np.uint8))
    assert [s.num_objects for s in samples(tmp_path)] == [4, 4]


@pytest.mark.parametrize(
    ("objects", "factor", "expected"),
    [("auto", 255, 4), ("auto", 1, 4), ("value", 255, 1), ("component", 1, 4), ("auto", 7, 4)],
)
def test_what_an_object_is(tmp_path: Path, objects: str, factor: int, expected: int) -> None:
    labels = discs(0)
    mask = (labels > 0) * 255 if factor == 255 else labels * factor
    save(tmp_path / "a.png", picture(labels, 0))
    save(tmp_path / "a_mask.png", mask.astype(np.uint8))
    (sample,) = samples(tmp_path, objects=objects)
    assert sample.num_objects == expected


def test_8_bit_pictures_stay_as_they_are(tmp_path: Path) -> None:
    grey = picture(discs(0), 0) // 2 + 20
    save(tmp_path / "a.png", grey)
    save(tmp_path / "a_mask.png", discs(0).astype(np.uint8))
    (sample,) = samples(tmp_path)
    assert np.array_equal(sample.image[1].numpy(), grey)


def test_percentiles(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 60_000, 64, dtype=np.uint16), (48, 1))
    save(tmp_path / "a.tif", ramp)
    save(tmp_path / "a_mask.tif", discs(0).astype(np.uint16))
    (full,) = samples(tmp_path, percentiles=(0.0, 100.0))
    (cut,) = samples(tmp_path, percentiles=(10.0, 90.0))
    assert (cut.image[0] == 255).sum() > 5 * (full.image[0] == 255).sum()
    with pytest.raises(ConfigError, match="data.percentiles"):
        MicroscopyDataModule(root=str(tmp_path), percentiles=(90.0, 10.0))


def test_folder_without_masks(dsb_folder: Path, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"c{number}" / "images" / "i.png", picture(discs(0), 0))
    for number in (0, 1):
        for value in (1, 2):
            mask = (discs(0) == value).astype(np.uint8)
            save(tmp_path / f"c{number}" / "masks" / f"{value}.png", mask)
    with pytest.raises(DatasetError, match="1 image has no mask") as caught:
        samples(tmp_path)
    assert "c2/images/i.png" in str(caught.value)
    assert len(samples(tmp_path, on_missing="skip")) == 2


def test_class_name(dsb_folder: Path) -> None:
    data = MicroscopyDataModule(root=str(dsb_folder), class_name="nucleus")
    assert tuple(data.class_names) == ("nucleus",)


def planes_of_cells(root: Path) -> np.ndarray:
    """Save a stack whose planes are numbered anew, each from 1, with cells that touch."""
    labels = np.zeros((6, 48, 64), np.uint16)
    for plane in range(6):
        for value in range(1, 5):
            left = 12 * (value - 1) + 2 * plane
            labels[plane, 10 + 8 * (plane % 2) :, left : left + 12][:8] = value
    save(root / "a.tif", (labels * 40).astype(np.uint8))
    save(root / "a_label.tif", labels)
    return labels


def test_planes_that_are_numbered_anew(tmp_path: Path) -> None:
    labels = planes_of_cells(tmp_path)
    found = samples(tmp_path)
    assert [s.num_objects for s in found] == [4] * 6
    for sample, plane in zip(found, labels, strict=True):
        assert equal_objects(sample.masks(), plane)


def test_classes_in_a_stack_stay_classes(tmp_path: Path) -> None:
    labels = np.stack([discs(n) > 0 for n in range(6)]).astype(np.uint8)
    save(tmp_path / "a.tif", labels * 90)
    save(tmp_path / "a_label.tif", labels)
    assert [s.num_objects for s in samples(tmp_path)] == [4] * 6


def test_what_is_logged_of_many_objects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = np.kron(np.arange(1, 49).reshape(6, 8), np.ones((8, 8), int)).astype(np.uint8)
    save(tmp_path / "a.png", picture(labels, 0))
    save(tmp_path / "a_mask.png", labels)
    with caplog.at_level("INFO", "samft"):
        assert samples(tmp_path)[0].num_objects == 48
    assert "48 different ones in 1 masks looked at, each in 1.0 connected pieces" in caplog.text


@pytest.mark.filterwarnings("ignore:.*stored as RGB:DeprecationWarning")
def test_three_planes_that_tifffile_saved_as_colours(tmp_path: Path) -> None:
    labels = np.stack([discs(n) for n in range(3)]).astype(np.uint16)
    save(tmp_path / "a.tif", labels)
    save(tmp_path / "a_label.tif", labels)
    with pytest.raises(DatasetError, match="the file cannot be read") as caught:
        samples(tmp_path)
    assert "3 channels of uint16" in str(caught.value)
    assert "photometric='minisblack'" in str(caught.value).splitlines()[-1]
