"""Counts on real data sets, where they are present: equal to what their SOURCE.md states."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from samft.data.datamodule import SamDataModule
from samft.data.medical import MedicalDataModule
from samft.data.microscopy import MicroscopyDataModule
from samft.data.records import SPLITS
from samft.data.underwater import UnderwaterDataModule

BRATS = ["necrosis", "oedema", "non-enhancing", "enhancing"]
CHEST = {
    "ribs",
    "cervical vertebral column",
    "thoracic vertebral column",
    "lumbar vertebral column",
    "right lung",
    "left lung",
    "tissue",
}


def samples(data: SamDataModule):
    for split in SPLITS:
        dataset = data.dataset(split)
        for index in range(len(dataset)):
            yield dataset[index]


def folder(real_data: Path, name: str) -> str:
    path = real_data / name
    if not path.is_dir():
        pytest.skip(f"no {name} in {real_data}")
    return str(path)


@pytest.mark.slow
def test_dsb2018(real_data: Path) -> None:
    data = MicroscopyDataModule(root=folder(real_data, "microscopy/DSB2018"))
    found = [(sample.num_objects, sample.size) for sample in samples(data)]
    assert len(found) == 120
    assert sum(count for count, _ in found) == 5672
    assert {size[::-1] for _, size in found} <= {
        (256, 256), (320, 256), (347, 260), (360, 360), (640, 512), (696, 520), (1272, 603),
        (1024, 1024),
    }  # fmt: skip


def test_stardist(real_data: Path) -> None:
    root = folder(real_data, "microscopy/stardist_nuclei")
    settings = {"images": "img2d.tif", "labels": "mask2d.tif", "val_fraction": 0}
    (sample,) = samples(MicroscopyDataModule(root=root, **settings))
    assert sample.num_objects == 125
    assert sample.size == (512, 512)


@pytest.mark.slow
def test_brats(real_data: Path) -> None:
    data = MedicalDataModule(
        root=folder(real_data, "medical/brats2013_deepmedic"),
        images=["**/Flair*.nii.gz", "**/T1c*.nii.gz"],
        labels="**/OTMultiClass.nii.gz",
        classes=BRATS,
        min_area=1,
        check_files=False,
    )
    assert [len({r.case_id for r in data.records(split)}) for split in SPLITS] == [2, 1, 0]
    count, classes = 0, Counter()
    for sample in samples(data):
        count += 1
        assert sample.size == (240, 240)
        classes.update(sample.object_class.tolist())
    assert count == 3 * 155
    assert set(classes) == {0, 1, 2, 3}


def test_spleen_ct(real_data: Path) -> None:
    data = MedicalDataModule(
        root=folder(real_data, "medical/ivadomed_data-testing") + "/ct_scan",
        val_fraction=0,
        min_area=1,
        window="ct_soft",
    )
    found = list(samples(data))
    assert len(found) == 26
    assert found[0].size == (166, 164)
    assert sum(int((sample.layers > 0).sum()) for sample in found) == 96_672


def test_bids_with_a_pattern(real_data: Path) -> None:
    data = MedicalDataModule(
        root=folder(real_data, "medical/ivadomed_data-testing"),
        labels="derivatives/labels/**/*_seg-manual.nii.gz",
        on_missing="skip",
        val_fraction=0,
    )
    assert {record.case_id for record in data.records("train")} == {"sub-unf01"}
    assert len({record.images for record in data.records("train")}) == 3


@pytest.mark.parametrize("where", ["shared", "package"])
def test_chest_ct(where: str, request: pytest.FixtureRequest) -> None:
    root = "package:slicerio/data"
    if where == "shared":
        root = folder(request.getfixturevalue("real_data"), "medical/slicerio_ctchest")
    settings = {"images": "CTChest4.nrrd", "min_area": 1, "objects": "class", "val_fraction": 0}
    plain = MedicalDataModule(root=root, labels="Segmentation.seg.nrrd", **settings)
    assert set(plain.class_names) == CHEST
    found = list(samples(plain))
    assert len(found) == 34
    assert {c for sample in found for c in sample.object_class.tolist()} == set(range(7))
    both = MedicalDataModule(root=root, labels="SegmentationOverlapping.seg.nrrd", **settings)
    assert len(both.class_names) == 8
    layered = [sample for sample in samples(both) if sample.layers.shape[0] == 2]
    assert layered
    masks = layered[len(layered) // 2].masks()
    assert int((masks.sum(dim=0) > 1).sum()) > 0


def test_suim(real_data: Path) -> None:
    data = UnderwaterDataModule(root=folder(real_data, "underwater/SUIM"), objects="class")
    found = list(samples(data))
    assert len(found) == 5
    assert {sample.size for sample in found} == {(480, 640)}
    assert all(sample.num_objects for sample in found)


@pytest.mark.slow
def test_eilat(real_data: Path) -> None:
    data = UnderwaterDataModule(
        root=folder(real_data, "underwater/EilatMixx"),
        masks="index",
        classes=[f"class {index}" for index in range(10)],
        background=None,
        ignore_value=255,
        objects="class",
    )
    assert [len(data.records(split)) for split in SPLITS] == [5, 1, 3]
    unknown = 0
    for sample in samples(data):
        assert sample.size == (920, 1380)
        unknown += int((sample.layers == -1).sum())
    assert unknown > 0


def test_lossy_masks(real_data: Path) -> None:
    data = MedicalDataModule(root=folder(real_data, "medical/CVC-612"), classes={255: "polyp"})
    found = list(samples(data))
    assert len(found) == 20
    assert all(sample.num_objects >= 1 for sample in found)


def test_every_bit_depth(real_data: Path) -> None:
    from samft.data.readers.image import probe_image, read_image

    root = Path(folder(real_data, "microscopy/ivadomed_sem_bitdepths"))
    files = [p for p in root.rglob("*") if p.suffix in (".png", ".tif")]
    assert len(files) == 14
    for path in files:
        array = read_image(path)
        assert array.shape[:2] == probe_image(path)
        assert array.ndim == 2 or array.shape[2] == 3
        assert np.ptp(array) > 0
