"""Every fragment for a data set trains two steps on a folder laid out like that set."""

import re
from pathlib import Path

import numpy as np
import pytest
from data_folders import MAKERS
from dicom_files import write_series

from samft.cli.lightning import run

ROOT = Path(__file__).parents[2]
FRAGMENTS = sorted((ROOT / "configs" / "data").glob("*.yaml"))
FAST = [
    *("--model.arch", "vit_nano", "--model.weights", "null", "--model.image_size", "64"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true"),
    *("--trainer.max_steps", "2", "--trainer.limit_val_batches", "0"),
    *("--trainer.num_sanity_val_steps", "0"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--data.num_workers", "0", "--data.min_area", "1"),
]


def write_dicom(root: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    for number in range(2):
        paths = write_series(root / f"p{number}" / "ct", PatientID=f"p{number}")
        images = [dcmread(path) for path in paths]
        mask = np.stack([image.pixel_array > 1100 for image in images])
        description = highdicom.seg.SegmentDescription(
            segment_number=1,
            segment_label="blob",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type="MANUAL",
        )
        segmentation = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=mask,
            segmentation_type="BINARY",
            segment_descriptions=[description],
            series_instance_uid=highdicom.UID(),
            series_number=9,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="x",
            manufacturer_model_name="x",
            software_versions="1",
            device_serial_number="1",
        )
        (root / f"p{number}" / "seg").mkdir()
        segmentation.save_as(root / f"p{number}" / "seg" / "s.dcm")


def folder_for(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    if name == "slicer":
        return request.getfixturevalue("seg_nrrd_folder")
    root = tmp_path / "data"
    root.mkdir()
    (write_dicom if name == "dicom" else MAKERS[name])(root)
    return root


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.stem)
def test_two_steps(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    recipe = re.search(r"--config (recipes/\w+\.yaml)", path.read_text())
    assert recipe is not None
    root = folder_for(path.stem, tmp_path, request)
    single = ["--data.val_fraction", "0"] if path.stem in ("slicer", "bsds500") else []
    line = run(
        [
            *("fit", "--config", str(ROOT / recipe[1]), "--config", str(path)),
            *("--data.root", str(root), "--data.transforms", "none", *single, *FAST),
            *("--runs", str(tmp_path / "runs")),
        ]
    )
    assert line.trainer.global_step == 2
    dataset = line.datamodule.dataset("train")
    found = [dataset[index] for index in range(len(dataset))]
    assert sum(sample.num_objects for sample in found) > 0
    assert len(line.datamodule.class_names) > 0
