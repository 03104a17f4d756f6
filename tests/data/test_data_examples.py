"""Packaged examples bring the settings that fit them."""

from dataclasses import dataclass

import pytest

from samft import MedicalDataModule
from samft.data.examples import use_example
from samft.errors import ConfigError


def test_the_chest_ct_needs_no_other_setting() -> None:
    data = MedicalDataModule(root="example:ct_chest", image_size=64, val_fraction=0.25)
    data.prepare_index()
    assert data.split_by == "block"
    assert len(data.records("train")) > 15
    assert len(data.records("val")) > 5
    assert "right lung" in data.class_names


def test_what_was_given_stays() -> None:
    data = MedicalDataModule(root="example:ct_chest", labels="*Overlapping.seg.nrrd")
    assert data.labels == "*Overlapping.seg.nrrd"
    assert data.images == "CTChest4.nrrd"


def test_other_roots_are_left_alone(tmp_path) -> None:
    data = MedicalDataModule(root=str(tmp_path))
    assert (data.root, data.images, data.split_by) == (str(tmp_path), None, "case")


def test_unknown_example() -> None:
    with pytest.raises(ConfigError, match="did you mean 'ct_chest'"):
        MedicalDataModule(root="example:ct_chestt")


def test_example_of_another_kind() -> None:
    @dataclass
    class Other:
        root: str

    with pytest.raises(ConfigError, match="is not for Other") as caught:
        use_example(Other(root="example:ct_chest"))
    assert "no setting images, labels, split_by" in str(caught.value)
