"""Which label file belongs to which image."""

from pathlib import Path

import pytest

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.label_files import (
    find_image_files,
    find_label_files,
    label_stem,
    match_by_stem,
    refuse_shared,
)
from samft.errors import ConfigError, DatasetError


def matched(labels: list[str], images: list[str]) -> dict[str, str]:
    root = Path("/data")
    found = match_by_stem(root, [root / name for name in labels], [root / name for name in images])
    return {
        label.relative_to(root).as_posix(): image.relative_to(root).as_posix()
        for label, image in found.items()
    }


@pytest.mark.parametrize(
    ("label", "image"),
    [
        ("7.xml", "7.tif"),
        ("labels/7_data.xml", "raw_image/7.tif"),
        ("7.tif.geojson", "7.tif"),
        ("a/7.ome.geojson", "a/7.ome.tif"),
        ("TCGA-18-5592-01Z-00-DX1.xml", "TCGA-18-5592-01Z-00-DX1.tif"),
        ("v1.2.json", "v1.2.png"),
    ],
)
def test_names_that_belong_together(label: str, image: str) -> None:
    assert matched([label], [image, "unrelated.png"]) == {label: image}


def test_the_longest_name_wins() -> None:
    assert matched(["7_a_data.xml"], ["7.tif", "7_a.tif"]) == {"7_a_data.xml": "7_a.tif"}


def test_the_folder_decides_between_equal_names() -> None:
    images = ["train/images/1.png", "test/images/1.png", "train/labels/2.png", "train/images/2.png"]
    assert matched(["train/labels/1.xml", "test/labels/1.xml", "train/labels/2.xml"], images) == {
        "train/labels/1.xml": "train/images/1.png",
        "test/labels/1.xml": "test/images/1.png",
        "train/labels/2.xml": "train/labels/2.png",
    }


def test_the_ending_in_a_name_decides() -> None:
    assert matched(["1.tif.xml"], ["1.tif", "1.png"]) == {"1.tif.xml": "1.tif"}


def test_a_name_alone_is_no_partner() -> None:
    assert matched(["8.xml", "70.xml"], ["7.tif"]) == {}


def test_a_doubtful_partner_is_refused() -> None:
    with pytest.raises(DatasetError, match="several images fit one label file") as caught:
        matched(["labels/1.xml"], ["a/1.tif", "b/1.tif"])
    assert caught.value.where == Path("/data/labels/1.xml")
    assert caught.value.found == "a/1.tif, b/1.tif"
    assert "data.images" in str(caught.value.fix)


def test_two_label_files_for_an_image_are_refused() -> None:
    image = Path("/data/1.tif")
    with pytest.raises(DatasetError, match="several label files") as caught:
        refuse_shared(Path("/data"), {Path("/data/1.xml"): image, Path("/data/1_b.xml"): image})
    assert caught.value.where == image
    assert "data.labels" in str(caught.value.fix)


def test_finding_files(tmp_path: Path) -> None:
    for name in ("a.XML", "b/c.xml", ".hidden/d.xml", "b/.e.xml", "b/c.png", "v.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    every = LayoutSettings()
    assert find_label_files(tmp_path, (".xml",), every) == [
        tmp_path / "a.XML",
        tmp_path / "b/c.xml",
    ]
    chosen = LayoutSettings(labels="b/*.xml", images=("b/*.png",))
    assert find_label_files(tmp_path, (".xml",), chosen) == [tmp_path / "b/c.xml"]
    assert find_image_files(tmp_path, every) == [tmp_path / "b/c.png"]
    assert find_image_files(tmp_path, chosen) == [tmp_path / "b/c.png"]
    with pytest.raises(DatasetError, match="no label files found") as caught:
        find_label_files(tmp_path, (".json",), every)
    assert caught.value.where == tmp_path
    with pytest.raises(ConfigError, match="one image per label file"):
        find_image_files(tmp_path, LayoutSettings(images=("a/*", "b/*")))
    (tmp_path / "b/c.png").unlink()
    with pytest.raises(DatasetError, match="no images found"):
        find_image_files(tmp_path, every)


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "secret.xml").touch()
    (root / "a.xml").symlink_to(tmp_path / "secret.xml")
    with pytest.raises(DatasetError, match="leads out of the data folder") as caught:
        find_label_files(root, (".xml",), LayoutSettings())
    assert caught.value.where == root / "a.xml"


def test_stems() -> None:
    assert label_stem(Path("x/a.tif.xml")) == "a"
    assert label_stem(Path("a.b.xml")) == "a.b"
