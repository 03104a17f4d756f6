"""Any folder: what is recognised, how volumes and large images are cut, what comes with them."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from fixtures_data import ct_volume, discs, picture, save, write_nifti

from samft import FolderDataModule
from samft.data.layouts.registry import LAYOUT_NAMES, layout_class, recognise
from samft.errors import ConfigError, DatasetError


def make(root: Path, **settings) -> FolderDataModule:
    return FolderDataModule(root=str(root), val_fraction=0, **settings)


def samples(data: FolderDataModule):
    dataset = data.dataset("train")
    return [dataset[index] for index in range(len(dataset))]


def message(root: Path, **settings) -> str:
    with pytest.raises((DatasetError, ConfigError)) as caught:
        make(root, **settings).prepare_index()
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_says_what_it_recognised_and_why(dsb_folder: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    data = make(dsb_folder)
    assert all(sample.num_objects == 4 for sample in samples(data))
    assert f"{dsb_folder} is read as object_files: " in caplog.text
    assert "folders with images/ and masks/" in caplog.text


def test_a_layout_by_name(dsb_folder: Path) -> None:
    assert "there is no layout 'dsbb'" in message(dsb_folder, layout="dsbb")
    assert "pairs" in message(dsb_folder, layout="dsbb")
    assert make(dsb_folder, layout="object_files").known_layout().name == "object_files"


def test_colours_of_suim(suim_folder: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    data = make(suim_folder)
    assert "fish" in data.class_names
    assert "is read as suim" in caplog.text
    assert "it could also be pairs (data.layout)" in caplog.text


def test_every_layout_has_its_name() -> None:
    for name in LAYOUT_NAMES:
        assert layout_class(name).name == name


def test_an_empty_folder_is_of_no_layout(tmp_path: Path) -> None:
    assert [found.name for found in recognise(tmp_path)] == ["pairs"]
    assert "no images found" in message(tmp_path)


def test_values_that_are_classes(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    for number in range(4):
        labels = discs(number, count=6, radius=4)
        save(tmp_path / "images" / f"{number}.png", picture(labels, number))
        classes = (labels > 0).astype(np.uint8) + (labels > 3)
        save(tmp_path / "masks" / f"{number}.png", classes)
    assert [sample.num_objects for sample in samples(make(tmp_path))] == [6, 6, 6, 6]
    assert "taken for classes: 2 different ones in 4 masks" in caplog.text
    by_value = make(tmp_path, objects="value")
    assert [sample.num_objects for sample in samples(by_value)] == [2, 2, 2, 2]


def test_values_that_are_objects(label_tiff_folder: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    data = make(label_tiff_folder)
    assert {sample.num_objects for sample in samples(data)} == {3}
    assert "taken for instances" in caplog.text


def test_touching_objects_stay_apart(tmp_path: Path) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[10:20, 5:15], labels[10:20, 15:25] = 1, 2
    save(tmp_path / "images" / "a.png", picture(labels.astype(np.int32), 0))
    save(tmp_path / "masks" / "a.png", labels)
    (sample,) = samples(make(tmp_path))
    assert sample.num_objects == 2
    (together,) = samples(make(tmp_path, threshold=1))
    assert together.num_objects == 1


def test_context_slices_are_channels(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    write_nifti(tmp_path / "images" / "a.nii.gz", values)
    write_nifti(tmp_path / "labels" / "a.nii.gz", labels)
    plain, context = make(tmp_path, axis="axial"), make(tmp_path, axis="axial", context_slices=1)
    alone, together = samples(plain), samples(context)
    assert plain.num_channels == context.num_channels == 3
    for index, sample in enumerate(together):
        for channel, step in enumerate((-1, 0, 1)):
            there = min(max(index + step, 0), len(alone) - 1)
            assert torch.equal(sample.image[channel], alone[there].image[0])
        assert torch.equal(sample.layers, alone[index].layers)
    wide = make(tmp_path, axis="axial", context_slices=2)
    assert samples(wide)[0].image.shape[0] == wide.num_channels == 5


def test_neighbouring_slices_of_colours_need_a_choice(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    write_nifti(tmp_path / "images" / "a.nii.gz", np.stack([values, values + 9, values], axis=-1))
    write_nifti(tmp_path / "labels" / "a.nii.gz", labels)
    with pytest.raises(DatasetError, match="neighbouring slices need one channel") as caught:
        samples(make(tmp_path, context_slices=1))
    text = str(caught.value)
    assert "images/a.nii.gz, found: 3 channels, data.context_slices 1" in text
    assert "set data.channels, such as [0]" in text
    assert samples(make(tmp_path, context_slices=1, channels=[0]))[0].image.shape[0] == 3
    every = make(tmp_path, context_slices=1, channels=[0, 1, 2])
    assert samples(every)[0].image.shape[0] == every.num_channels == 9


def test_spacing_of_slices_along_any_axis(tmp_path: Path) -> None:
    values, labels = ct_volume(0)
    write_nifti(tmp_path / "images" / "a.nii.gz", values)
    write_nifti(tmp_path / "labels" / "a.nii.gz", labels)
    for axis, spacing in (("axial", (0.8, 0.8)), ("coronal", (5.0, 0.8)), ("sagittal", (5.0, 0.8))):
        sample = samples(make(tmp_path, axis=axis))[0]
        assert sample.spacing_mm == pytest.approx(spacing)


def test_parts_of_a_large_image(tmp_path: Path) -> None:
    labels = discs(3, count=12, size=(100, 150), radius=5)
    save(tmp_path / "images" / "a.png", picture(labels, 0))
    save(tmp_path / "masks" / "a.tif", labels.astype(np.uint16))
    (whole,) = samples(make(tmp_path))
    data = make(tmp_path, tile=64, tile_overlap=8)
    covered = torch.zeros(100, 150, dtype=torch.bool)
    for record, sample in zip(data.records("train"), samples(data), strict=True):
        top, left, height, width = record.window
        assert (height, width) == sample.size == (64, 64)
        part = (slice(top, top + height), slice(left, left + width))
        assert torch.equal(sample.image, whole.image[:, *part])
        assert torch.equal(sample.layers > 0, whole.layers[:, *part] > 0)
        assert sample.sample_id == f"images/a.png/y{top}x{left}"
        assert sample.case_id == "images/a.png"
        covered[part] = True
    assert covered.all()


def test_stacks_become_planes(tmp_path: Path) -> None:
    labels = np.stack([discs(seed) for seed in range(5)]).astype(np.uint16)
    images = np.stack([picture(plane.astype(np.int32), 0) for plane in labels])
    for kind, array in (("images", images), ("labels", labels)):
        (tmp_path / kind).mkdir()
        tifffile.imwrite(tmp_path / kind / "a.tif", array, imagej=True, metadata={"axes": "ZYX"})
    found = samples(make(tmp_path))
    assert [sample.sample_id for sample in found] == [f"images/a.tif/z{i:03d}" for i in range(5)]
    for index, sample in enumerate(found):
        assert np.array_equal(sample.layers[0].numpy() > 0, labels[index] > 0)
        assert sample.num_objects == 4


def test_cases_of_a_pattern(dsb_folder: Path) -> None:
    data = make(dsb_folder, case_pattern="(c)")
    assert {record.case_id for record in data.records("train")} == {"c"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tile": 16}, ("data.tile", "32 or more")),
        ({"tile": 64, "tile_overlap": 64}, ("data.tile_overlap", "less than data.tile, 64")),
        ({"context_slices": -1}, ("data.context_slices",)),
        ({"percentiles": (90, 10)}, ("data.percentiles", "two rising numbers")),
        ({"palette": {"a": [0, 0]}}, ("data.palette", "[red, green, blue]")),
        ({"enhancement": "white_balance", "channels": [0, 1, 2, 3]}, ("data.enhancement",)),
    ],
)
def test_settings_that_make_no_sense(settings: dict, words: tuple[str, ...]) -> None:
    text = message(Path("missing"), **settings)
    assert all(word in text for word in words)


def test_enhancement_is_used(suim_folder: Path) -> None:
    plain, better = make(suim_folder), make(suim_folder, enhancement="clahe")
    assert not torch.equal(samples(plain)[0].image, samples(better)[0].image)


def test_listing_does_not_look_into_arrays(tmp_path: Path) -> None:
    from samft.data.layouts.listing import Listing

    save(tmp_path / "a.zarr" / "0" / "1.png", picture(discs(0), 0))
    save(tmp_path / ".hidden" / "b.png", picture(discs(0), 0))
    save(tmp_path / "c.png", picture(discs(0), 0))
    (tmp_path / "d.json").write_text(json.dumps({"a": 1}))
    (tmp_path / "e.json").write_text("{")
    (tmp_path / "out.png").symlink_to("/etc/hostname")
    listing = Listing.of(tmp_path)
    assert listing.names == ("a.zarr", "c.png", "d.json", "e.json")
    assert listing.parsed("d.json") == {"a": 1}
    assert listing.parsed("e.json") is None
    assert listing.head("d.json", 4) == b'{"a"'
    assert listing.head("none") == b""


@pytest.mark.parametrize("kind", ["instances", "black and white", "classes"])
def test_large_label_images_are_read_part_by_part(tmp_path: Path, kind: str, monkeypatch) -> None:
    labels = discs(3, count=12, size=(200, 256), radius=8)
    mask = labels.astype(np.uint16)
    if kind != "instances":
        mask = ((labels > 0) * (255 if kind == "black and white" else 1)).astype(np.uint16)
    for folder, array in (("images", picture(labels, 0)), ("masks", mask)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tif", array, tile=(64, 64))
    settings = {"tile": 96, "tile_overlap": 8}
    settings |= {"classes": ["disc"], "objects": "component"} if kind == "classes" else {}
    kept = samples(make(tmp_path, **settings))
    monkeypatch.setattr("samft.data.readers.tiff._LARGE", 0)
    monkeypatch.setattr("samft.data.labels.read_label_map", None)  # reads whole files
    parts = samples(make(tmp_path, **settings))
    assert len(parts) == len(kept) > 4
    for whole, part in zip(kept, parts, strict=True):
        assert torch.equal(whole.image, part.image)
        assert torch.equal(whole.masks(), part.masks())
        assert torch.equal(whole.object_class, part.object_class)


STRAY = {
    "classes.csv": "image,label\n0.png,cat\n1.png,dog\n",
    "features.parquet": "PAR1",
    "settings.json": '{"images": 3, "training": {"rate": 1}}',
    "list.json": '[{"image": "x"}]',
    "notes.xml": "<notes><image name='0.png'/></notes>",
    "participants.tsv": "participant_id\tage\nsub-01\t33\n",
    "places.geojson": '{"type": "FeatureCollection", "features": []}',
    "metadata.csv": "file_name,age\n0.png,3\n",
    "dataset.json": '{"name": "ours", "licence": "none"}',
    "meta.mat": "MATLAB 5.0",
}


@pytest.mark.parametrize("name", STRAY)
def test_what_lies_beside_pairs_does_not_hide_them(tmp_path: Path, name: str) -> None:
    for number in range(2):
        save(tmp_path / "images" / f"{number}.png", picture(discs(number), 0))
        save(tmp_path / "masks" / f"{number}.png", discs(number).astype(np.uint8))
    for place in (tmp_path, tmp_path / "images"):
        (place / name).write_text(STRAY[name])
    assert recognise(tmp_path)[0].name == "pairs"
    assert len(samples(make(tmp_path))) == 2
