"""Which mask belongs to which image, in every layout, and never by guessing."""

import logging
import os
from pathlib import Path

import pytest

from samft.data.pairing import find_channels, find_pairs
from samft.errors import ConfigError, DatasetError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def pairs(root: Path, **settings) -> dict[str, str]:
    return {
        pair.image.relative_to(root).as_posix(): pair.label.relative_to(root).as_posix()
        for pair in find_pairs(root, **settings)
    }


def message(root: Path, **settings) -> str:
    with pytest.raises((DatasetError, ConfigError)) as caught:
        find_pairs(root, **settings)
    text = str(caught.value)
    assert len(text.splitlines()) <= 4
    return text


LAYOUTS = {
    "folders": {"images/a.png": "masks/a.png", "images/b.jpg": "masks/b.png"},
    "folders with suffix": {"images/a.png": "labels/a_label.tif", "images/b.png": "labels/b.tif"},
    "split folders": {
        "train/images/a.png": "train/masks/a.png",
        "val/images/a.png": "val/masks/a.png",
    },
    "split folders inside": {"images/train/a.png": "labels/train/a.png"},
    "beside": {"a.tif": "a_masks.tif", "b.tif": "b_seg.tif", "c.tif": "c_label.png"},
    "prefix": {"img2d.tif": "mask2d.tif", "img_7.tif": "mask_7.tif", "image-8.png": "label-8.png"},
    "both have a word": {"images/frame_001.png": "masks/frame_001_mask.png"},
    "CVC": {"images/fine_3_1_fram.jpg": "masks/fine_3_1_mask.jpg"},
    "case folders": {"p1/ct.nii.gz": "p1/segmentation.nii.gz", "p2/t1.nii": "p2/seg.nii.gz"},
    "slicer": {"p1/ct.nrrd": "p1/lungs.seg.nrrd"},
    "BIDS": {
        "sub-1/anat/sub-1_T1w.nii.gz": "derivatives/labels/sub-1/anat/sub-1_T1w_seg-manual.nii.gz",
        "sub-1/anat/sub-1_T2w.nii.gz": "derivatives/labels/sub-1/anat/sub-1_T2w_lesion.nii.gz",
    },
    "longest name wins": {"a.png": "a_mask.png", "a_b.png": "masks/a_b_c.png"},
    "nnU-Net": {"imagesTr/liver_001_0000.nii.gz": "labelsTr/liver_001.nii.gz"},
    "numbers like channels": {
        "img_0000.png": "img_0000_mask.png",
        "img_0001.png": "img_0001_mask.png",
    },
    "other folder": {"original/a.png": "annotations/x/a.png"},
    "dots in names": {"images/LFT_89.JPG00.png": "labels/LFT_89.JPG00.png"},
    "upper case": {"Images/A.PNG": "Masks/A.PNG"},
    "OME-TIFF": {"images/a.ome.tif": "masks/a.tif", "b.ome.tiff": "b_masks.ome.tif"},
    "Cellpose": {"c1.png": "c1_cp_masks.png", "c2_img.tif": "c2_masks.tif"},
    "folders of two words": {"raw images/a.png": "label masks/a.tif"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    expected = LAYOUTS[layout]
    make(tmp_path, *expected, *expected.values(), "readme.txt", ".hidden.png")
    assert pairs(tmp_path) == expected


def test_what_cellpose_writes_beside_is_left_out(tmp_path: Path, caplog) -> None:
    make(tmp_path, "a.tif", "a_cp_masks.tif", "a_flows.tif", "a_outlines_cp_masks.png", "a_seg.npy")
    make(tmp_path, "a_cp_outlines.png", "a_cp_output.png", "b.tif", "b_masks.tif", "b_flows.tif")
    with caplog.at_level(logging.INFO, "samft"):
        assert pairs(tmp_path) == {"a.tif": "a_cp_masks.tif", "b.tif": "b_masks.tif"}
    assert "5 flows or outlines left out: a_cp_outlines.png" in caplog.text


def test_flows_without_masks_are_images(tmp_path: Path) -> None:
    make(tmp_path, "images/lava_flows.png", "masks/lava_flows.png")
    assert pairs(tmp_path) == {"images/lava_flows.png": "masks/lava_flows.png"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("a.png", "a_seg.npy"), "_seg.npy of Cellpose is not read"),
        (("images/a.png", "masks/a.npy"), "save the masks as TIFF"),
        (("Images/a.png", "Labels/a.mat"), "save its inst_map"),
        (("images/a.npz",), "save the images as TIFF"),
        (("sa_000000.tar",), "samft.ShardedDataModule"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, files: tuple[str, ...], expected: str) -> None:
    assert expected in message(make(tmp_path, *files)).splitlines()[-1]


def test_patterns(tmp_path: Path) -> None:
    make(tmp_path, *[f"{p}/{n}.nii.gz" for p in ("p1", "p2") for n in ("Flair", "T1c", "OT", "x")])
    assert pairs(tmp_path, images="**/Flair*", labels="**/OT*") == {
        "p1/Flair.nii.gz": "p1/OT.nii.gz",
        "p2/Flair.nii.gz": "p2/OT.nii.gz",
    }


def test_folders_that_a_pattern_spells_out_do_not_matter(tmp_path: Path) -> None:
    make(tmp_path, "test/scans/1.tif", "test/1st_manual/1.gif", "test/fov/1.gif")
    found = pairs(tmp_path, images="*/scans/*.tif", labels="*/1st_manual/*.gif")
    assert found == {"test/scans/1.tif": "test/1st_manual/1.gif"}


def test_single_files(tmp_path: Path) -> None:
    make(tmp_path, "CT4.nrrd", "Segmentation.seg.nrrd", "Other.seg.nrrd")
    found = pairs(tmp_path, images="CT4.nrrd", labels="Segmentation.seg.nrrd")
    assert found == {"CT4.nrrd": "Segmentation.seg.nrrd"}


def test_channels(tmp_path: Path) -> None:
    make(tmp_path, *[f"{p}/{n}.nii" for p in ("p1", "p2") for n in ("flair", "t1", "seg")])
    found = find_channels(tmp_path, images=["*/t1.nii", "*/flair.nii"])
    assert found == [
        ((tmp_path / p / "t1.nii", tmp_path / p / "flair.nii"), tmp_path / p / "seg.nii")
        for p in ("p1", "p2")
    ]


def test_missing_channel(tmp_path: Path) -> None:
    make(tmp_path, "p1/t1.nii", "p1/t2.nii", "p1/seg.nii", "p2/t1.nii", "p2/seg.nii")
    with pytest.raises(DatasetError, match="no image"):
        find_channels(tmp_path, images=["*/t1.nii", "*/t2.nii"])
    found = find_channels(tmp_path, images=["*/t1.nii", "*/t2.nii"], on_missing="skip")
    assert [label.parent.name for _, label in found] == ["p1"]


def test_image_without_mask(tmp_path: Path, caplog) -> None:
    make(tmp_path, *[f"images/{i}.png" for i in range(6)], "masks/0.png")
    text = message(tmp_path)
    assert text.splitlines()[0] == "5 images have no mask"
    assert "images/1.png, images/2.png, images/3.png and 2 more" in text
    assert "data.on_missing: skip" in text
    with caplog.at_level(logging.WARNING, "samft"):
        assert pairs(tmp_path, on_missing="skip") == {"images/0.png": "masks/0.png"}
    assert "5 images have no mask, left out: images/1.png" in caplog.text


def test_mask_without_image(tmp_path: Path) -> None:
    make(tmp_path, "images/0.png", "masks/0.png", "masks/1.png")
    text = message(tmp_path)
    assert text.splitlines()[0] == "1 mask has no image"
    assert "masks/1.png" in text
    assert pairs(tmp_path, on_missing="skip") == {"images/0.png": "masks/0.png"}


def test_several_masks_for_one_image(tmp_path: Path) -> None:
    make(tmp_path, "a.nii", "a_seg.nii", "a_gt.nii")
    text = message(tmp_path)
    assert "several masks fit one image" in text
    assert "a_gt.nii, a_seg.nii" in text
    assert "data.labels" in text
    assert pairs(tmp_path, labels="*_seg.nii", images="a.nii") == {"a.nii": "a_seg.nii"}


def test_several_images_for_one_mask(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "images/a.jpg", "masks/a.png")
    text = message(tmp_path)
    assert "several images fit one mask" in text
    assert "images/a.jpg, images/a.png" in text
    assert "keep one of the two, whose names differ only in their endings" in text


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("P1/CT/1.dcm", "if the images are the DICOM files, set data.layout: dicom"),
        ("images/1.mha", "MetaImage (.mha, .mhd) is not read: save the images as NIfTI"),
        ("images/1.mhd", "MetaImage (.mha, .mhd) is not read: save the images as NIfTI"),
    ],
)
def test_images_of_a_kind_that_is_read_otherwise(tmp_path: Path, name: str, fix: str) -> None:
    make(tmp_path, name)
    text = message(tmp_path)
    assert text.startswith("no images found")
    assert fix in text


def test_nothing_there(tmp_path: Path) -> None:
    make(tmp_path, "notes.txt", "sub/readme.md")
    text = message(tmp_path)
    assert text.startswith("no images found")
    assert f"where: {tmp_path}" in text
    assert "there: notes.txt, sub/" in text
    assert "PNG, JPEG, BMP, GIF, WebP, TIFF, NIfTI or NRRD" in text
    (tmp_path / "empty").mkdir()
    assert "the folder is empty" in message(tmp_path / "empty")


def test_images_but_no_masks(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "b.png")
    text = message(tmp_path)
    assert text.startswith("no masks found")
    assert "2 images such as a.png" in text
    assert "x_mask, x_seg, x_label" in text


def test_pattern_without_match(tmp_path: Path) -> None:
    make(tmp_path, "images/a.png", "masks/a.png")
    text = message(tmp_path, images="pics/*.png")
    assert "no file matches the pattern" in text
    assert str(tmp_path / "pics/*.png") in text
    assert "there: images/, masks/" in text
    assert "data.images" in text


@pytest.mark.parametrize("pattern", ["../*.png", "/etc/*.png", "images/../../*.png", ""])
def test_patterns_stay_below_the_root(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "images/a.png", "masks/a.png")
    text = message(tmp_path, labels=pattern)
    assert "does not stay below the data root" in text
    assert "data.labels" in text


@pytest.mark.parametrize("settings", [{}, {"images": "images/*.png"}])
def test_links_that_lead_out_are_refused(tmp_path: Path, settings: dict) -> None:
    outside = make(tmp_path / "outside", "secret.png")
    root = make(tmp_path / "root", "images/a.png", "masks/a.png")
    (root / "images" / "b.png").symlink_to(outside / "secret.png")
    text = message(root, **settings)
    assert "a symbolic link leads out of the data folder" in text
    assert str(root / "images/b.png") in text
    assert "secret.png" in text


def test_links_inside_and_a_linked_root_are_fine(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "images/a.png", "masks/a.png")
    os.symlink(root / "images/a.png", root / "images/b.png")
    os.symlink(root / "masks/a.png", root / "masks/b.png")
    os.symlink(root, tmp_path / "link")
    assert len(pairs(tmp_path / "link")) == 2


def test_equal_numbers(tmp_path: Path) -> None:
    make(
        tmp_path,
        *(f"{split}/images/{n}_{split}.tif" for split, n in (("training", 21), ("test", "01"))),
        *(f"{split}/1st_manual/{n}_manual1.gif" for split, n in (("training", 21), ("test", "01"))),
        "training/mask/21_training_mask.gif",
    )
    assert pairs(tmp_path, images="*/images/*.tif", labels="*/1st_manual/*.gif") == {
        "training/images/21_training.tif": "training/1st_manual/21_manual1.gif",
        "test/images/01_test.tif": "test/1st_manual/01_manual1.gif",
    }


@pytest.mark.parametrize("other", ["21_again.tif", "x_training.tif"])
def test_numbers_must_be_of_one_file_each(tmp_path: Path, other: str) -> None:
    make(tmp_path, "images/21_training.tif", f"images/{other}", "1st/21_m.gif", "1st/22_m.gif")
    assert "2 images have no mask" in message(tmp_path, images="images/*", labels="1st/*")
