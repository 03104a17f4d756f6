"""What a run's configuration says about intensities, applied outside its datamodule."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from fixtures_data import ct_volume, write_nifti

from samft.data.medical import MedicalDataModule
from samft.data.preprocessing import Preprocessing
from samft.data.sources import VolumeSource
from samft.errors import ConfigError


def of(**settings) -> Preprocessing:
    return Preprocessing.of_settings(settings)


def test_defaults_without_a_configuration(tmp_path: Path) -> None:
    assert Preprocessing.of_config(None) == Preprocessing()
    path = tmp_path / "config.fit.yaml"
    path.write_text("model: {}\n")
    assert Preprocessing.of_config(path) == Preprocessing()


def test_from_a_configuration(tmp_path: Path) -> None:
    data = {"class_path": "samft.MedicalDataModule", "init_args": {"window": [40, 400]}}
    path = tmp_path / "config.fit.yaml"
    path.write_text(yaml.safe_dump({"data": data}))
    assert Preprocessing.of_config(path).limits == (-160, 240)


def test_percentiles_of_microscopy_hold_for_stacks_too() -> None:
    found = of(percentiles=[5, 90], channels=[2, 0], keep_depth=True)
    assert found.percentiles == found.volume_percentiles == (5, 90)
    assert found.channels == (2, 0)
    stack = np.arange(3 * 4 * 5 * 6, dtype=np.uint16).reshape(3, 4, 5, 6)
    planes = found.planes(stack, Path("x.tif"), is_volume=False)
    assert planes.shape == (2, 4, 5, 6)
    assert planes.dtype == np.float32
    assert found.as_image(planes[:, 0], Path("x.tif")).shape == (3, 5, 6)


def test_images_of_several_files_are_warned_of(tmp_path: Path, caplog) -> None:
    settings = {"images": ["*_flair.nii.gz", "*_t1.nii.gz"]}
    path = tmp_path / "config.fit.yaml"
    path.write_text(yaml.safe_dump({"data": {"init_args": settings}}))
    Preprocessing.of_config(path)
    assert "images of 2 files each" in caplog.text


def test_a_window_that_makes_no_sense() -> None:
    with pytest.raises(ConfigError, match="the window does not make sense") as caught:
        of(window="ct_brian")
    assert "ct_brian" in str(caught.value)
    assert "ct_soft" in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"window": "ct_soft"}, {"window": "auto"}, {"axis": "coronal"}]
)
def test_slices_are_those_of_training(tmp_path: Path, settings) -> None:
    """The same pixels and the same names as the datamodule that the model was trained with."""
    scan, labels = ct_volume(3)
    write_nifti(tmp_path / "images/case.nii.gz", scan, codes="LPS")
    write_nifti(tmp_path / "labels/case.nii.gz", labels, codes="LPS")
    data = MedicalDataModule(root=str(tmp_path), val_fraction=0, **settings)
    path = tmp_path / "images/case.nii.gz"
    source = VolumeSource("images/case", (path,), of(**({"window": "auto"} | settings)))
    samples = data.dataset("train")
    assert len(samples) == len(source.planes)
    for index, plane in enumerate(source.planes):
        assert samples[index].sample_id == plane
        assert np.array_equal(samples[index].image.numpy(), source.picture(index))


@pytest.mark.parametrize(
    ("text", "what", "found"),
    [
        ("data: [", "the configuration of the run cannot be read", "expected the node content"),
        ("a: &a [*a]", "the configuration of the run cannot be read", "contains itself"),
        ("data: {init_args: {axis: [1]}}", "the data settings of the run cannot be used", "axis"),
        ("data: {init_args: {channels: 3}}", "the data settings", "not iterable"),
        ("data: {init_args: {channels: [-1]}}", "the data settings", "channels"),
        ("data: {init_args: {context_slices: x}}", "the data settings", "context_slices"),
        ("data: {init_args: {enhancement: 7}}", "the data settings", "enhancement"),
        ("data: {init_args: {percentiles: [9, 1]}}", "the data settings", "percentiles"),
        ("data: {init_args: {percentiles: abc}}", "the data settings", "too many values"),
        ("data: {init_args: {window: [a, b]}}", "the data settings", "'>' not supported"),
        ("data: {init_args: {window: [.inf, 2]}}", "the data settings", "window"),
        ("data: {init_args: {window: {a: 1, b: 2}}}", "the data settings", "1"),
    ],
)
def test_a_configuration_that_was_damaged(tmp_path: Path, text: str, what: str, found: str) -> None:
    path = tmp_path / "config.fit.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=what) as caught:
        Preprocessing.of_config(path)
    assert found in str(caught.value.found)
    assert caught.value.where == path
    assert "give the checkpoint without its folder" in str(caught.value.fix)
