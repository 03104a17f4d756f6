"""Presets and their ranges as a user writes them in a config."""

from __future__ import annotations

import pytest
from jsonargparse import ArgumentParser, Namespace

from samft.data.augmentation.settings import AugmentationSettings
from samft.data.synthetic import SyntheticDataModule
from samft.errors import ConfigError


def parse(text: str) -> Namespace:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(SyntheticDataModule, "data")
    parser.add_argument("--config", action="config")
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # before 4.49
    return instantiate(parser.parse_string(text)).data


@pytest.mark.parametrize(
    ("written", "transforms"),
    [
        ("lsj", "lsj"),
        ("none", "none"),
        ("null", None),
        ("[lsj, underwater]", ["lsj", "underwater"]),
        ("[foreground_crop]", ["foreground_crop"]),
    ],
)
def test_one_line_of_yaml(written: str, transforms: str | list[str] | None) -> None:
    data = parse(
        "data: {class_path: samft.data.synthetic.SyntheticDataModule, "
        f"init_args: {{size: 64, transforms: {written}}}}}"
    )
    assert data.transforms == transforms
    assert data.repeats is False  # drawn anew in every epoch


def test_ranges_in_yaml_reach_the_images() -> None:
    data = parse(
        "data: {class_path: samft.data.synthetic.SyntheticDataModule, init_args: {size: 100, "
        "image_size: 64, transforms: [foreground_crop], "
        "augmentation: {crop_by: side, crop_side: 32}}}"
    )
    assert data.augmentation == AugmentationSettings(crop_by="side", crop_side=32)
    assert {data.dataset("train", augment=True)[index].size for index in range(5)} == {(32, 32)}
    assert data.dataset("train")[0].size == (100, 100)
    assert data.dataset("val")[0].size == (100, 100)


def test_jitter_has_the_side_of_the_model() -> None:
    data = SyntheticDataModule(size=64, image_size=80, transforms="lsj")
    assert data.dataset("train", augment=True)[0].size == (80, 80)
    unknown = SyntheticDataModule(size=64, transforms="lsj")
    assert unknown.dataset("train", augment=True)[0].size == (1024, 1024)


@pytest.mark.parametrize(
    ("changes", "where", "expected"),
    [
        ({"crop_side": 3}, "data.augmentation.crop_side", "at least 16"),
        ({"lsj_low": 0.0}, "data.augmentation.lsj_low", "0.01 to 10"),
        ({"lsj_low": 2.0, "lsj_high": 1.0}, "data.augmentation.lsj_high", "2 to 10"),
        ({"crop_share": 1.5}, "data.augmentation.crop_share", "0 to 1"),
        ({"crop_factor": 0.5}, "data.augmentation.crop_factor", "at least 1"),
        ({"crop_by": "area"}, "data.augmentation.crop_by", "choose from object, side"),
        ({"crop_sid": 64}, "data.augmentation.crop_sid", "did you mean 'crop_side'"),
    ],
)
def test_ranges_that_make_no_sense(changes: dict[str, float], where: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AugmentationSettings.from_dict(changes)
    assert where in str(caught.value)
    assert expected in str(caught.value)


def test_they_are_checked_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="crop_side is out of range"):
        SyntheticDataModule(size=64, augmentation=AugmentationSettings(crop_side=1))


def test_no_augmentation_repeats_the_images(label_tiff_folder) -> None:
    from samft.data.microscopy import MicroscopyDataModule

    for transforms, repeats in ((None, True), ([], True), (["none"], True), (["lsj"], False)):
        data = MicroscopyDataModule(root=str(label_tiff_folder), transforms=transforms)
        assert data.repeats is repeats
