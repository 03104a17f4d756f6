"""Colour-coded masks and index masks."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_data import discs, picture, save

from samft.data.folder import FolderDataModule
from samft.data.layouts.registry import recognise
from samft.data.underwater import SUIM_PALETTE, UnderwaterDataModule
from samft.errors import ConfigError, DatasetError
from samft.types import IGNORE


def make(root: Path | str, **settings) -> UnderwaterDataModule:
    return UnderwaterDataModule(root=str(root), **({"val_fraction": 0} | settings))


def message(root: Path | str, **settings) -> str:
    with pytest.raises((DatasetError, ConfigError)) as caught:
        make(root, **settings).prepare_index()
    text = str(caught.value)
    assert len(text.splitlines()) <= 4
    return text


def test_suim_colours(suim_folder: Path) -> None:
    data = make(suim_folder)
    assert tuple(data.class_names) == tuple(SUIM_PALETTE)[1:]
    fish, reef = (list(data.class_names).index(name) for name in ("fish", "reef"))
    dataset = data.dataset("train")
    for number in range(5):
        sample = dataset[number]
        labels = discs(number, count=3, radius=8)
        assert sorted(sample.object_class.tolist()) == sorted([fish, reef, fish])
        for mask, kind in zip(sample.masks().numpy(), sample.object_class.tolist(), strict=True):
            value = np.unique(labels[mask])
            assert len(value) == 1
            assert (labels == value[0]).sum() == mask.sum()
            assert kind == (reef if value[0] == 2 else fish)


def test_a_class_as_one_object(suim_folder: Path) -> None:
    sample = make(suim_folder, objects="class").dataset("train")[0]
    assert sample.num_objects == 2


def test_background_may_be_another_class_or_none(suim_folder: Path) -> None:
    fish = list(SUIM_PALETTE).index("fish")
    data = make(suim_folder, background=fish)
    assert "fish" not in data.class_names
    assert "background" in data.class_names
    assert data.dataset("train")[0].num_objects == 2
    assert make(suim_folder, background=None).dataset("train")[0].num_objects == 4


def test_index_masks_with_unknown_pixels(index_mask_folder: Path) -> None:
    data = make(
        index_mask_folder,
        masks="index",
        classes=["sand", "coral"],
        background=None,
        ignore_value=255,
    )
    assert [len(data.records(s)) for s in ("train", "val", "test")] == [4, 0, 2]
    sample = data.dataset("train")[0]
    assert sample.object_class.tolist() == [0, 1, 1]
    assert (sample.layers[0, :4] == IGNORE).all()
    assert not (sample.layers[0, 4:] == IGNORE).any()
    assert sample.masks()[0].sum() == (discs(0, count=2, radius=8)[4:] == 0).sum()


def test_index_masks_without_names(index_mask_folder: Path) -> None:
    data = make(index_mask_folder, masks="index", ignore_value=255)
    assert tuple(data.class_names) == ("object",)
    assert data.dataset("train")[0].num_objects == 2
    by_value = make(index_mask_folder, masks="index", ignore_value=255, classes={1: "coral"})
    assert tuple(by_value.class_names) == ("coral",)
    assert by_value.dataset("train")[0].num_objects == 2


def test_unnamed_value(index_mask_folder: Path) -> None:
    text = message(index_mask_folder, masks="index", classes=["sand", "coral"])
    assert "values that have no class name" in text
    assert "found: 255, expected: 1 coral" in text


def test_unexpected_colour(suim_folder: Path) -> None:
    palette = {"background": [0, 0, 0], "fish": [255, 255, 0]}
    text = message(suim_folder, palette=palette)
    assert "a colour that is not in the palette" in text
    assert "masks/dive_0_.bmp" in text
    assert "RGB (255, 0, 255)" in text
    assert "(0, 0, 0), (255, 255, 0)" in text
    assert "data.palette" in text


def test_palette_of_other_colours(tmp_path: Path) -> None:
    colours = np.array([(10, 10, 10), (128, 64, 200)], np.uint8)
    save(tmp_path / "images" / "a.png", picture(discs(0), 0))
    save(tmp_path / "masks" / "a.png", colours[(discs(0) > 0).astype(int)])
    palette = {"water": [10, 10, 10], "sponge": [128, 64, 200]}
    sample = make(tmp_path, palette=palette).dataset("train")[0]
    assert sample.num_objects == 4


def test_grey_masks_are_not_taken_for_colours(index_mask_folder: Path) -> None:
    text = message(index_mask_folder)
    assert "the mask has no colours" in text
    assert "data.masks: index" in text


def test_colour_masks_are_not_taken_for_indices(suim_folder: Path) -> None:
    text = message(suim_folder, masks="index")
    assert "the mask has colours" in text
    assert "data.palette" in text


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"ignore_value": 255}, "data.ignore_value"),
        ({"masks": "index", "palette": {"a": [0, 0, 0]}}, "data.palette"),
        ({"palette": {"a": [0, 0]}}, "data.palette"),
        ({"palette": {"a": [0, 0, 300]}}, "data.palette"),
        ({"palette": {}}, "data.palette"),
    ],
)
def test_settings_that_contradict(settings: dict, name: str) -> None:
    assert name in message("missing", **settings)


def test_some_classes_of_a_palette(suim_folder: Path) -> None:
    data = make(suim_folder, classes=["fish"])
    assert tuple(data.class_names) == ("fish",)
    every = make(suim_folder).dataset("train")
    number = tuple(make(suim_folder).class_names).index("fish")
    chosen = data.dataset("train")
    for index in range(len(every)):
        wanted = int((every[index].object_class == number).sum())
        assert chosen[index].object_class.tolist() == [0] * wanted
    text = message(suim_folder, classes=["fisch"])
    assert "no colour of the palette has this name" in text
    assert "did you mean 'fish'?" in text


def test_jpeg_masks_in_the_colours_of_suim(tmp_path: Path) -> None:
    colours = np.array(list(SUIM_PALETTE.values()), np.uint8)
    for number in range(2):
        save(tmp_path / "images" / f"{number}.jpg", picture(discs(number), number))
        save(tmp_path / "masks" / f"{number}.jpg", colours[discs(number)])
    data = FolderDataModule(root=str(tmp_path), val_fraction=0, min_area=30)
    assert [data.dataset("train")[n].num_objects for n in range(2)] == [4, 4]
    assert data.known_layout().name == "suim"


def test_photographs_are_no_masks_of_suim(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    save(tmp_path / "images" / "a.jpg", photo)
    save(tmp_path / "masks" / "a.jpg", photo)
    assert [r.name for r in recognise(tmp_path)] == ["pairs"]
