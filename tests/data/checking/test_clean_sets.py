"""Sets without a fault give no finding, whatever their layout."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures_data import SPACING_MM, ct_volume, discs, picture, save, write_nifti

from samft.data.checking.runner import Report, check_folder
from samft.data.checking.settings import CheckSettings
from samft.data.layouts.base import LayoutSettings


def check(root: Path, **options: object) -> Report:
    layout = LayoutSettings(**options)  # type: ignore[arg-type]
    return check_folder(root, CheckSettings(image_size=256, layout=layout), use_cache=False)


@pytest.mark.parametrize(
    ("folder", "images", "objects"),
    [
        ("label_tiff_folder", 5, 15),
        ("ct_folder", 4, 32),
        ("seg_nrrd_folder", 1, 20),
        ("suim_folder", 5, 15),
    ],
)
def test_every_layout_without_a_fault(
    folder: str, images: int, objects: int, request: pytest.FixtureRequest
) -> None:
    report = check(request.getfixturevalue(folder))
    assert report.findings == []
    assert (report.summary.images, report.summary.readable) == (images, images)
    assert report.summary.objects == objects
    assert sum(report.summary.sizes) == objects


def test_constant_alpha_is_all_there_is_to_say_about_dsb(dsb_folder: Path) -> None:
    report = check(dsb_folder)
    assert [(item.code, item.files) for item in report.findings] == [("alpha-constant", 6)]
    assert report.summary.objects == 24


def write_pairs(root: Path, mask: Callable[[int], np.ndarray], count: int = 6) -> Path:
    for number in range(count):
        save(root / "images" / f"{number}.png", picture(discs(number), number))
        save(root / "masks" / f"{number}.png", mask(number))
    return root


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (lambda n: (discs(n) > 0).astype(np.uint8) * 255, {}),
        (lambda n: (discs(n) > 0).astype(np.uint8), {}),
        (lambda n: (discs(n) > 0).astype(np.uint8), {"classes": ["cell"]}),
        (lambda n: discs(n).astype(np.uint8), {"objects": "value"}),
        (lambda n: (discs(n) * 100).astype(np.uint16), {}),
        (
            lambda n: np.where(discs(n) > 2, 2, discs(n) > 0).astype(np.uint8),
            {"classes": ["a", "b"]},
        ),
        (
            lambda n: np.where(discs(n) > 3, 9, discs(n) > 0).astype(np.uint8),
            {"classes": ["a"], "ignore_value": 9},
        ),
        (lambda n: 1 - (discs(n) > 0).astype(np.uint8), {"background": 1, "classes": {0: "a"}}),
        (lambda n: (discs(n) > 0).astype(np.uint8) * 200 + 5, {"threshold": 100}),
    ],
)
def test_masks_of_many_kinds(
    mask: Callable[[int], np.ndarray], options: dict[str, object], tmp_path: Path
) -> None:
    report = check(write_pairs(tmp_path, mask), **options)
    assert [item.to_dict() for item in report.findings] == []
    assert report.summary.objects >= 6


def test_empty_masks_on_purpose_are_counted_but_not_blamed(tmp_path: Path) -> None:
    def mask(number: int) -> np.ndarray:
        return (discs(number) > 0).astype(np.uint8) * (number % 2)

    report = check(write_pairs(tmp_path, mask))
    assert report.findings == []
    assert report.summary.empty == 3


def test_hidden_files_and_other_files_do_not_count(tmp_path: Path) -> None:
    write_pairs(tmp_path, lambda n: (discs(n) > 0).astype(np.uint8))
    (tmp_path / ".DS_Store").write_bytes(b"")
    (tmp_path / "images" / "._3.png").write_bytes(b"")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.png").write_bytes(b"")
    (tmp_path / "README.txt").write_text("notes")
    (tmp_path / "images" / "\u00e9\u6d77.png").write_bytes((tmp_path / "images/0.png").read_bytes())
    (tmp_path / "masks" / "\u00e9\u6d77.png").write_bytes((tmp_path / "masks/0.png").read_bytes())
    found = [(item.code, item.file) for item in check(tmp_path).findings]
    assert found == [("duplicate", "images/\u00e9\u6d77.png")]  # nothing but the copy just made


def test_train_and_val_of_different_images(tmp_path: Path) -> None:
    for number in range(8):
        split = "val" if number > 5 else "train"
        save(tmp_path / split / "images" / f"{number}.png", picture(discs(number), number))
        save(tmp_path / split / "masks" / f"{number}.png", (discs(number) > 0).astype(np.uint8))
    report = check(tmp_path)
    assert report.findings == []
    assert dict(report.summary.splits) == {"train": 6, "val": 2}


def test_volumes_along_any_axis_and_in_any_orientation(tmp_path: Path) -> None:
    for number, codes in enumerate(("RAS", "LPS", "PSR")):
        values, labels = ct_volume(number)
        write_nifti(tmp_path / "images" / f"case{number}.nii.gz", values, codes=codes)
        write_nifti(tmp_path / "labels" / f"case{number}.nii.gz", labels, codes=codes)
    report = check(tmp_path, objects="component")
    assert report.findings == []
    assert SPACING_MM[2] > 4 * SPACING_MM[0]  # so axial slices of 4 with 2 objects each
    assert report.summary.objects == 3 * 4 * 2


def test_sizes_are_counted_at_training_size(tmp_path: Path) -> None:
    def mask(number: int) -> np.ndarray:
        square = np.zeros((48, 64), np.uint8)
        square[10 + number : 20 + number, 10:20] = 1  # 100 pixels, 10 wide
        return square

    write_pairs(tmp_path, mask)
    for size, edge in ((64, 8), (128, 16), (32, 4)):  # 10, 20 and 5 pixels wide
        settings = CheckSettings(image_size=size, tiny=16)
        summary = check_folder(tmp_path, settings, use_cache=False).summary.to_dict()
        filled = [row["from_px"] for row in summary["object_sizes"] if row["objects"]]
        assert filled == [edge]
    assert json.loads(json.dumps(summary)) == summary


def write_coco(root: Path) -> Path:
    images, annotations = [], []
    for number in range(4):
        labels = discs(number)
        save(root / "images" / f"{number}.png", picture(labels, number))
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 48})
        for value in range(1, 5):
            y, x = np.nonzero(labels == value)
            left, right, top, bottom = x.min(), x.max() + 1, y.min(), y.max() + 1
            ring = [left, top, right, top, right, bottom, left, bottom]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1 + value % 2,
                    "segmentation": [[float(place) for place in ring]],
                    "bbox": [int(left), int(top), int(right - left), int(bottom - top)],
                    "area": int((right - left) * (bottom - top)),
                    "iscrowd": 0,
                }
            )
    names = [{"id": 1, "name": "round"}, {"id": 2, "name": "ring"}, {"id": 7, "name": "unused"}]
    table = {"images": images, "annotations": annotations, "categories": names}
    (root / "annotations.json").write_text(json.dumps(table))
    return root


def test_coco_without_a_fault_and_with_an_image_too_many(tmp_path: Path) -> None:
    report = check(write_coco(tmp_path))
    assert (report.layout, report.findings) == ("coco", [])
    assert report.summary.classes == {"round": (8, 4), "ring": (8, 4), "unused": (0, 0)}
    save(tmp_path / "images" / "x.png", picture(discs(9), 9))
    found = [(item.code, item.files) for item in check(tmp_path).findings]
    assert found == [("image-without-mask", 1)]


def test_what_cellpose_writes_beside_its_masks(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.tif", picture(discs(number), number))
        save(tmp_path / f"{number}_cp_masks.tif", discs(number).astype(np.uint16))
        save(tmp_path / f"{number}_cp_outlines.png", (discs(number) > 2).astype(np.uint8))
        save(tmp_path / f"{number}_flows.tif", np.zeros((5, 48, 64), np.float32))
    report = check(tmp_path)
    assert report.findings == []
    assert report.summary.objects == 12
