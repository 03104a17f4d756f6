"""One mask file for each class, in a folder beside the volume."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_data import ct_volume, write_nifti

from samft import MedicalDataModule
from samft.data.layouts.registry import recognise
from samft.errors import ConfigError, DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        values, labels = ct_volume(number)
        case = tmp_path / f"s{number:04d}"
        write_nifti(case / "ct.nii.gz", values, codes="LPS" if number else "RAS")
        for value, name in ((1, "liver"), (2, "spleen")):
            if (number, name) != (2, "spleen"):
                mask = (labels == value).astype(np.uint8)
                write_nifti(case / "segmentations" / f"{name}.nii.gz", mask)
    # Overlaps with the liver.
    values, labels = ct_volume(0)
    tumour = np.zeros_like(labels)
    tumour[2, 6:9, 5:8] = 1
    write_nifti(tmp_path / "s0000" / "segmentations" / "tumour.nii.gz", tumour)
    return tmp_path


def make(root: Path, **settings) -> MedicalDataModule:
    return MedicalDataModule(root=str(root), val_fraction=0, min_area=1, axis="axial", **settings)


def test_classes_are_the_files(folder: Path) -> None:
    assert recognise(folder)[0].name == "class_files"
    data = make(folder, objects="class")
    assert data.class_names == ("liver", "spleen", "tumour")
    dataset = data.dataset("train")
    assert len(dataset) == 18
    assert {record.case_id for record in data.records("train")} == {"s0000", "s0001", "s0002"}
    found = dict.fromkeys(data.class_names, 0)
    for index in range(len(dataset)):
        sample = dataset[index]
        for mask, number in zip(sample.masks(), sample.object_class.tolist(), strict=True):
            found[data.class_names[number]] += int(mask.sum())
    labels = [ct_volume(number)[1] for number in range(3)]
    assert found["liver"] == sum(int((each == 1).sum()) for each in labels)
    assert found["spleen"] == sum(int((each == 2).sum()) for each in labels[:2])
    assert found["tumour"] == 9


def test_some_of_the_classes(folder: Path) -> None:
    data = make(folder, classes=["spleen"])
    dataset = data.dataset("train")
    counts = [dataset[index].num_objects for index in range(len(dataset))]
    assert sum(counts[:12]) == 8
    assert sum(counts[12:]) == 0  # the third case has no file of it
    with pytest.raises(ConfigError, match="no mask file has the name of this class") as caught:
        make(folder, classes=["splen"]).prepare_index()
    assert "did you mean 'spleen'?" in str(caught.value)


def test_a_volume_without_masks(folder: Path) -> None:
    write_nifti(folder / "s0009" / "ct.nii.gz", ct_volume(9)[0])
    with pytest.raises(DatasetError, match="1 image has no mask") as caught:
        make(folder).prepare_index()
    assert "s0009/ct.nii.gz" in str(caught.value)
    assert len(make(folder, on_missing="skip").records("train")) == 18


def test_a_mask_of_another_size(folder: Path) -> None:
    write_nifti(folder / "s0001" / "segmentations" / "liver.nii.gz", ct_volume(1)[1][:-1])
    with pytest.raises(DatasetError, match="mask and image sizes differ"):
        make(folder).prepare_index()


def test_pairs_are_pairs(ct_folder: Path, tmp_path: Path) -> None:
    assert recognise(ct_folder)[0].name == "pairs"
    values, labels = ct_volume(0)
    write_nifti(tmp_path / "p1" / "t1.nii.gz", values)
    write_nifti(tmp_path / "p1" / "masks" / "t1.nii.gz", labels)
    assert recognise(tmp_path)[0].name == "pairs"
