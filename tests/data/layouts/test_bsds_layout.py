"""BSDS500: several people's segmentations of every image."""

from pathlib import Path

import numpy as np
import pytest
from fixtures_data import save
from scipy.io import savemat

from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.bsds import BsdsAllLayout, BsdsLayout
from samft.data.layouts.listing import Listing
from samft.data.readers.mat import read_boundaries
from samft.errors import ConfigError, DatasetError


def stripes(count: int) -> np.ndarray:
    return np.broadcast_to(np.arange(24) * count // 24 + 1, (8, 24)).astype(np.uint16)


@pytest.fixture
def berkeley(tmp_path: Path) -> Path:
    """Two training images and a test image, three annotators with 2, 6 and 3 segments."""
    for split, stem in (("train", "8049"), ("train", "12003"), ("test", "8049")):
        save(tmp_path / "data" / "images" / split / f"{stem}.jpg", np.zeros((8, 24, 3), np.uint8))
        cells = np.empty((1, 3), object)
        for number, count in enumerate((2, 6, 3)):
            edges = np.zeros((8, 24), np.uint8)
            cells[0, number] = {"Segmentation": stripes(count), "Boundaries": edges}
        folder = tmp_path / "data" / "groundTruth" / split
        folder.mkdir(parents=True, exist_ok=True)
        savemat(folder / f"{stem}.mat", {"groundTruth": cells})
    return tmp_path


@pytest.mark.parametrize("folder", ["", "data"])
def test_the_median_annotator(berkeley: Path, folder: str) -> None:
    root = berkeley / folder
    assert "as in BSDS500" in str(BsdsLayout.recognise(Listing.of(root)))
    found = BsdsLayout(root, LayoutSettings())
    records = found.records()
    assert [(r.sample_id.removeprefix("data/"), r.split) for r in records] == [
        ("images/test/8049.jpg", "test"),
        ("images/train/12003.jpg", "train"),
        ("images/train/8049.jpg", "train"),
    ]
    assert found.class_names == ("segment",)
    objects = found.truth(records[0]).objects("component")
    np.testing.assert_array_equal(objects.layers[0], stripes(3))
    found.check(records)


def test_every_annotator(berkeley: Path) -> None:
    assert BsdsAllLayout.recognise(Listing.of(berkeley)) is None
    found = BsdsAllLayout(berkeley, LayoutSettings())
    records = found.records()
    assert len(records) == 9
    assert {r.case_id for r in records[:3]} == {"data/images/test/8049.jpg"}
    assert [r.sample_id.rpartition("/")[2] for r in records[:3]] == [
        "annotator1",
        "annotator2",
        "annotator3",
    ]
    counts = [found.truth(r).objects("value").object_class.size for r in records[:3]]
    assert counts == [2, 6, 3]


def test_images_and_truth_alone(berkeley: Path) -> None:
    (berkeley / "data/groundTruth/train/8049.mat").unlink()
    with pytest.raises(DatasetError, match="1 image has no mask") as caught:
        BsdsLayout(berkeley, LayoutSettings()).records()
    assert "train/8049.jpg" in str(caught.value)
    assert len(BsdsLayout(berkeley, LayoutSettings(on_missing="skip")).records()) == 2
    (berkeley / "data/images/train/12003.jpg").unlink()
    (berkeley / "data/images/train/8049.jpg").unlink()
    with pytest.raises(DatasetError, match="1 mask has no image"):
        BsdsLayout(berkeley, LayoutSettings()).records()
    only_tests = LayoutSettings(labels="**/test/*.mat", images=("**/test/*.jpg",))
    assert len(BsdsLayout(berkeley, only_tests).records()) == 1


def test_the_only_class(berkeley: Path) -> None:
    with pytest.raises(ConfigError, match="the only class of BSDS is segment"):
        BsdsLayout(berkeley, LayoutSettings(classes=["dog"])).records()


def test_a_damaged_file_is_named(berkeley: Path) -> None:
    found = BsdsLayout(berkeley, LayoutSettings())
    record = found.records()[0]
    record.labels[0].write_bytes(b"MATLAB 5.0")
    with pytest.raises(DatasetError, match="cannot be read") as caught:
        found.truth(record)
    assert "8049.mat" in str(caught.value)


def test_real_bsds(real_data: Path) -> None:
    root = real_data / "general" / "BSDS500"
    if not root.is_dir():
        pytest.skip(f"no {root}")
    records = BsdsLayout(root, LayoutSettings()).records()
    splits = [record.split for record in records]
    assert [splits.count(split) for split in ("train", "val", "test")] == [20, 24, 12]
    assert (
        len(
            BsdsAllLayout(
                root, LayoutSettings(images=("**/test/*.jpg",), labels="**/test/*.mat")
            ).records()
        )
        == 64
    )
    truth = BsdsLayout(root, LayoutSettings())
    truth.records()
    objects = truth.truth(records[0]).objects("component")
    assert (objects.layers > 0).all()  # segments cover the image
    assert len(read_boundaries(records[0].labels[0])) == 5
