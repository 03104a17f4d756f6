"""Real sets: the oddities they are known for are found, and nothing is found in sound ones."""

from pathlib import Path

import pytest

from samft.data.checking.runner import check_folder
from samft.data.checking.settings import CheckSettings
from samft.data.layouts.base import LayoutSettings


@pytest.mark.parametrize(
    ("folder", "options", "codes", "objects"),
    [
        ("medical/CVC-612", {}, {"mask-jpeg": 1, "sequence": 1}, 21),
        ("medical/rt-utils_ct_rtstruct", {}, {}, 1),
        ("medical/slicerio_ctchest",
         {"images": ("CTChest4.nrrd",), "labels": "Segmentation.seg.nrrd"}, {"ct-padding": 1}, 875),
        ("microscopy/ISBI2012_membrane", {}, {"mask-inverted": 1}, 2340),
        ("microscopy/GBM40_HE", {}, {}, 509),
        ("general/GrabCut_scribbles",
         {"images": ("images/*.jpg",), "labels": "ground-truth/*.png"}, {"values-unnamed": 1}, 13),
        ("general/labelme_examples/instance_segmentation/data_annotated", {}, {}, 12),
        ("general/labelme_examples/instance_segmentation/data_dataset_coco", {}, {}, 12),
        ("general/labelme_examples/instance_segmentation/data_dataset_voc", {}, {}, 12),
    ],
)  # fmt: skip
def test_known_oddities(
    real_data: Path, folder: str, options: dict, codes: dict[str, int], objects: int
) -> None:
    settings = CheckSettings(layout=LayoutSettings(**options))
    report = check_folder(real_data / folder, settings, use_cache=False)
    assert dict(report.log.counts) == codes
    assert report.summary.objects == objects


def test_masks_of_the_field_of_view_are_told_from_labels(real_data: Path) -> None:
    root = real_data / "medical" / "DRIVE"
    report = check_folder(root, CheckSettings(min_area=20), use_cache=False)
    assert dict(report.log.counts) == {"image-without-mask": 16, "masks-alike": 1}
    named = {finding.fix.split("'")[1] for finding in report.findings if "'" in finding.fix}
    assert named == {"test/1st_manual/*.gif", "training/1st_manual/*.gif"}
    right = LayoutSettings(images=("*/images/*.tif",), labels="*/1st_manual/*.gif")
    report = check_folder(root, CheckSettings(layout=right), use_cache=False)
    assert "image-without-mask" not in report.log.counts
    assert "masks-alike" not in report.log.counts
