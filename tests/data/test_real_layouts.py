"""Every real data set by its fragment in `configs/data/`: counts as its SOURCE.md states them."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import samft
from samft.data.records import SPLITS

CONFIGS = Path(__file__).parents[2] / "configs" / "data"


def loaded(fragment: str, root: Path, **changes: Any) -> samft.FolderDataModule:
    if not root.is_dir():
        pytest.skip(f"no {root}")
    data = yaml.safe_load((CONFIGS / f"{fragment}.yaml").read_text())["data"]
    settings = data["init_args"] | {"min_area": 1, "val_fraction": 0} | changes
    return getattr(samft, data["class_path"].partition(".")[2])(root=str(root), **settings)


def counted(data: samft.FolderDataModule) -> tuple[list[int], Counter[str], int]:
    """Return images of each split, objects by class, and pixels of which nothing is known."""
    objects: Counter[str] = Counter()
    images, unknown = [], 0
    for split in SPLITS:
        dataset = data.dataset(split)
        images.append(len(dataset))
        for index in range(len(dataset)):
            sample = dataset[index]
            objects.update(data.class_names[number] for number in sample.object_class.tolist())
            unknown += int((sample.layers < 0).sum())
    return images, objects, unknown


@pytest.mark.parametrize(
    ("fragment", "folder", "images", "objects", "classes"),
    [
        pytest.param("bsds500", "general/BSDS500", [20, 24, 12], 1001, 1, marks=pytest.mark.slow),
        ("cvc_clinicdb", "medical/CVC-612", [20, 0, 0], 21, 1),
        ("drive", "medical/DRIVE", [10, 0, 6], 16, 1),
        ("gbm40", "microscopy/GBM40_HE", [4, 0, 0], 509, 1),
        ("grabcut", "general/GrabCut_scribbles", [8, 0, 0], 8, 1),
        ("isbi2012", "microscopy/ISBI2012_membrane", [20, 0, 0], 2340, 1),
        ("spine_mri", "medical/ivadomed_data-testing", [48, 0, 0], 48, 1),
        ("stardist", "microscopy/stardist_nuclei", [32, 0, 0], 491, 1),
        ("suim", "underwater/SUIM", [5, 0, 0], 25, 7),
        ("sammed2d", "medical/SAM-Med2D_demo/data_demo", [2, 0, 2], 30, 24),
    ],
)
def test_counts(
    fragment: str, folder: str, images: list[int], objects: int, classes: int, real_data: Path
) -> None:
    data = loaded(fragment, real_data / folder)
    found, by_class, _ = counted(data)
    assert found == images
    assert sum(by_class.values()) == objects
    assert len(data.class_names) == classes


@pytest.mark.parametrize("fragment", ["labelme", "coco", "voc"])
def test_one_set_in_three_formats(fragment: str, real_data: Path) -> None:
    folder = {"labelme": "data_annotated", "coco": "data_dataset_coco", "voc": "data_dataset_voc"}
    root = real_data / "general/labelme_examples/instance_segmentation" / folder[fragment]
    images, by_class, unknown = counted(loaded(fragment, root))
    assert images == [3, 0, 0]
    assert by_class == {"person": 6, "bus": 2, "bottle": 1, "chair": 1, "sofa": 1, "car": 1}
    assert (unknown > 0) == (fragment != "coco")  # COCO has no place for `__ignore__`


@pytest.mark.slow
def test_tiles_of_a_reef(real_data: Path) -> None:
    data = loaded("coralseg_eilatmixx", real_data / "underwater/EilatMixx", objects="class")
    images, by_class, unknown = counted(data)
    assert images == [6, 0, 3]
    assert unknown > 0
    assert set(by_class) <= set(data.class_names)
    assert len(data.class_names) == 10


@pytest.mark.slow
def test_axons_and_their_myelin(real_data: Path) -> None:
    data = loaded("axondeepseg", real_data / "microscopy/data_axondeepseg_sem", min_area=30)
    images, by_class, _ = counted(data)
    assert images == [6, 0, 0]
    assert by_class["axon"] > 1000
    assert by_class["myelin"] > 1000


@pytest.mark.parametrize(
    ("segmentation", "voxels"),
    [("liver.dcm", {"Liver": 107_098}), ("partial_overlaps.dcm", 5)],
)
def test_ct_with_dicom_segmentations(segmentation: str, voxels: object, real_data: Path) -> None:
    data = loaded(
        "dicom",
        real_data / "medical/dcmqi_ct_seg",
        labels=f"**/{segmentation}",
        on_missing="skip",
        objects="class",
    )
    dataset = data.dataset("train")
    assert len(dataset) == 3
    found: Counter[str] = Counter()
    for index in range(3):
        sample = dataset[index]
        for mask, number in zip(sample.masks(), sample.object_class.tolist(), strict=True):
            found[data.class_names[number]] += int(mask.sum())
    assert found == voxels if isinstance(voxels, dict) else len(found) == voxels


def test_ct_with_contours(real_data: Path) -> None:
    data = loaded("dicom", real_data / "medical/rt-utils_ct_rtstruct")
    images, by_class, _ = counted(data)
    assert images == [2, 0, 0]
    assert by_class == {"ROI-1": 1}


def test_segments_of_3d_slicer(real_data: Path) -> None:
    data = loaded(
        "slicer",
        real_data / "medical/slicerio_ctchest",
        images="CTChest4.nrrd",
        labels="Segmentation.seg.nrrd",
    )
    images, by_class, _ = counted(data)
    assert images == [34, 0, 0]
    assert len(by_class) == len(data.class_names) == 7
