"""Where edges are taken from: annotators of BSDS500, and the objects of all other data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluation.zero_shot.bright_sam import drawn_objects
from PIL import Image
from scipy.io import savemat
from skimage.segmentation import find_boundaries

from samft.data.folder import FolderDataModule
from samft.data.readers.mat import read_boundaries
from samft.data.synthetic import SyntheticDataModule
from samft.evaluation.zero_shot.edge_truth import edge_images, label_edges, object_edges
from samft.types import IGNORE, Sample


def test_labels_that_touch_have_one_line_between_them() -> None:
    labels = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 2, 2], [0, 1, 1, 2, 2]])
    assert label_edges(labels[1:]).astype(int).tolist() == [[1, 0, 1, 0, 0], [1, 0, 1, 0, 0]]
    labels = drawn_objects()[1]
    found = label_edges(labels)
    thick = find_boundaries(labels, mode="thick")
    assert not (found & ~thick).any()
    assert 0.35 < found.sum() / thick.sum() < 0.65
    assert not label_edges(np.full((4, 4), 7)).any()
    assert label_edges(labels.astype(np.uint16)).tolist() == found.tolist()


def test_there_are_no_edges_to_what_is_unknown() -> None:
    labels = np.zeros((8, 12), np.int32)
    labels[:, 4:] = 1
    labels[:, 8:] = IGNORE
    assert np.flatnonzero(label_edges(labels).any(axis=0)).tolist() == [3]


def test_objects_that_overlap_all_have_their_outline() -> None:
    layers = torch.zeros(2, 20, 20, dtype=torch.int32)
    layers[0, 2:10, 2:10] = 1
    layers[1, 6:16, 6:16] = 2
    sample = Sample(
        image=torch.zeros(3, 20, 20, dtype=torch.uint8),
        layers=layers,
        object_layer=torch.tensor([0, 1]),
        object_class=torch.tensor([0, 0]),
        sample_id="a",
        case_id="a",
    )
    edges = object_edges(sample)
    for layer in layers.numpy():
        own = label_edges(layer)
        assert (edges & own).sum() > 0.85 * own.sum()


def write_bsds(root, *, boundaries=True):
    image, labels = drawn_objects()
    drawings = [labels + 1, np.where(labels == 3, 1, labels + 1)]
    for split in ("train", "val", "test"):
        for folder in ("images", "groundTruth"):
            (root / folder / split).mkdir(parents=True)
        Image.fromarray(image).save(root / "images" / split / f"{split}.png")
        cell = np.empty((1, len(drawings)), object)
        for index, each in enumerate(drawings):
            entry = {"Segmentation": each.astype(np.uint16)}
            if boundaries:
                entry["Boundaries"] = (each % 3 == 1).astype(np.uint8)
            cell[0, index] = entry
        savemat(root / "groundTruth" / split / f"{split}.mat", {"groundTruth": cell})
    return drawings


@pytest.mark.parametrize("layout", ["bsds", "bsds_all"])
def test_annotators_of_bsds(tmp_path, layout) -> None:
    drawings = write_bsds(tmp_path)
    (item,) = edge_images(FolderDataModule(root=str(tmp_path), layout=layout), "test")
    assert item.sample_id == "images/test/test.png"
    assert item.image.shape == (3, 64, 64)
    assert item.ignored is None
    assert len(item.annotations) == 2
    for found, labels in zip(item.annotations, drawings, strict=True):
        assert found.tolist() == (labels % 3 == 1).tolist()


def test_segments_without_boundaries_have_those_of_labels(tmp_path) -> None:
    drawings = write_bsds(tmp_path, boundaries=False)
    (item,) = edge_images(FolderDataModule(root=str(tmp_path)), "test")
    for found, labels in zip(item.annotations, drawings, strict=True):
        assert found.tolist() == label_edges(labels).tolist()


def test_a_folder_of_masks_has_one_annotator(tmp_path) -> None:
    image, labels = drawn_objects()
    labels[:, 60:] = 255
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in "ab":
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    data = FolderDataModule(
        root=str(tmp_path), layout="pairs", objects="value", ignore_value=255, val_fraction=0.5
    )
    (item,) = edge_images(data, "val")
    assert len(item.annotations) == 1
    known = np.where(labels == 255, IGNORE, labels)
    assert item.annotations[0].tolist() == label_edges(known).tolist()
    assert item.ignored.tolist() == (labels == 255).tolist()


def test_drawn_data_has_edges_too() -> None:
    data = SyntheticDataModule(num_val=2, size=64)
    items = list(edge_images(data, "val"))
    assert len(items) == 2
    for item, sample in zip(items, (data.dataset("val")[i] for i in range(2)), strict=True):
        assert item.sample_id == sample.sample_id
        assert item.annotations[0].any() == (sample.num_objects > 0)
        assert item.annotations[0].tolist() == object_edges(sample).tolist()


def test_the_real_bsds(real_data) -> None:
    root = real_data / "general" / "BSDS500" / "data"
    if not root.is_dir():
        pytest.skip("no BSDS500 among the real data")
    data = FolderDataModule(root=str(root), check_files=False, max_samples_per_split=2)
    items = list(edge_images(data, "test"))
    assert len(items) == 2
    for item, record in zip(items, data.records("test"), strict=True):
        drawn = read_boundaries(record.labels[0])
        assert all((a == b).all() for a, b in zip(item.annotations, drawn, strict=True))
        assert len(drawn) > 2
