"""Tiny folders laid out as the data sets that `configs/data/` is for."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io
import tifffile
from fixtures_data import ct_volume, discs, picture, save, write_nifti
from numpy.typing import NDArray

COUNT = 4


def _grey(number: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    labels = discs(number, count=3, radius=8)
    return labels, picture(labels, number)


def _rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([grey, grey, grey // 2])


def _corners(labels: NDArray[np.int32], value: int) -> list[list[float]]:
    rows, columns = np.nonzero(labels == value)
    left, top = float(columns.min()), float(rows.min())
    right, bottom = float(columns.max() + 1), float(rows.max() + 1)
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def _pairs(image: str, label: str, mask: Callable[[NDArray[np.int32]], NDArray[np.generic]]):
    def write(root: Path) -> None:
        for number in range(COUNT):
            labels, grey = _grey(number)
            names = {"n": number, "split": "train" if number < COUNT - 1 else "test"}
            names["drive"] = "training" if names["split"] == "train" else "test"
            save(root / image.format(**names), _rgb(grey))
            save(root / label.format(**names), mask(labels))

    return write


def _black_and_white(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    return (labels > 0).astype(np.uint8) * 255


def _with_unknown(value: int) -> Callable[[NDArray[np.int32]], NDArray[np.uint8]]:
    def mask(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
        painted = _black_and_white(labels)
        painted[:3] = value
        return painted

    return mask


def _suim(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    colours = np.array([(0, 0, 0), (255, 255, 0), (255, 0, 255), (255, 255, 0)], np.uint8)
    return colours[labels]


def _coral(labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    mask = labels.astype(np.uint8)
    mask[:3] = 255
    return mask


def _object_files(root: Path) -> None:
    for number in range(COUNT):
        labels, grey = _grey(number)
        save(root / f"c{number}" / "images" / "i.png", grey)
        for value in range(1, labels.max() + 1):
            mask = (labels == value).astype(np.uint8) * 255
            save(root / f"c{number}" / "masks" / f"{value}.png", mask)


def _brats(root: Path) -> None:
    for number in range(2):
        values, labels = ct_volume(number)
        case = root / ("train" if number == 0 else "validation") / f"pat{number}"
        for channel in ("Flair", "T1c"):
            write_nifti(case / f"{channel}_x.nii.gz", values.astype(np.float32))
        write_nifti(case / "OTMultiClass.nii.gz", labels)


def _bids(root: Path) -> None:
    (root / "dataset_description.json").parent.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')
    for number in range(3):
        values, labels = ct_volume(number)
        name = f"sub-{number:02d}"
        write_nifti(root / name / "anat" / f"{name}_T1w.nii.gz", values)
        labelled = root / "derivatives" / "labels" / name / "anat"
        write_nifti(labelled / f"{name}_T1w_seg-manual.nii.gz", np.minimum(labels, 1))


def _bids_microscopy(root: Path) -> None:
    for number in range(3):
        labels, grey = _grey(number)
        name = f"sub-rat{number}"
        save(root / name / "micr" / f"{name}_sample-1_SEM.png", grey)
        for structure, mask in (("axon", labels == 1), ("myelin", labels > 1)):
            file = f"{name}_sample-1_SEM_seg-{structure}-manual.png"
            path = root / "derivatives" / "labels" / name / "micr" / file
            save(path, mask.astype(np.uint8) * 255)
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.8.0"}')


def _labelme(root: Path) -> None:
    for number in range(COUNT):
        labels, grey = _grey(number)
        save(root / f"{number}.jpg", _rgb(grey))
        shapes = [
            {"label": "disc", "points": _corners(labels, value), "group_id": None,
             "shape_type": "polygon", "flags": {}}
            for value in range(1, labels.max() + 1)
        ]  # fmt: skip
        document = {
            "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{number}.jpg",
            "imageData": None, "imageHeight": grey.shape[0], "imageWidth": grey.shape[1],
        }  # fmt: skip
        (root / f"{number}.json").write_text(json.dumps(document))


def _coco(root: Path) -> None:
    images, annotations = [], []
    for number in range(COUNT):
        labels, grey = _grey(number)
        height, width = grey.shape
        save(root / "images" / f"{number}.jpg", _rgb(grey))
        images.append(
            {"id": number, "file_name": f"{number}.jpg", "height": height, "width": width}
        )
        for value in range(1, labels.max() + 1):
            ring = [c for point in _corners(labels, value) for c in point]
            annotations.append(
                {"id": len(annotations), "image_id": number, "category_id": 3, "iscrowd": 0,
                 "segmentation": [ring], "area": 1.0, "bbox": [*ring[:2], 1, 1]}
            )  # fmt: skip
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 3, "name": "disc"}],
    }
    (root / "annotations.json").write_text(json.dumps(document))


def _voc(root: Path) -> None:
    for number in range(COUNT):
        labels, grey = _grey(number)
        save(root / "JPEGImages" / f"{number}.jpg", _rgb(grey))
        save(root / "SegmentationObject" / f"{number}.png", labels.astype(np.uint8))
        save(root / "SegmentationClass" / f"{number}.png", (labels > 0).astype(np.uint8))
    (root / "class_names.txt").write_text("_background_\ndisc\n")


def _sammed2d(root: Path) -> None:
    table: dict[str, list[str]] = {}
    for number in range(COUNT):
        labels, grey = _grey(number)
        image = f"images/s{number}_7.png"
        save(root / image, grey)
        for value in range(1, labels.max() + 1):
            mask = f"masks/s{number}_7_liver_{value:03d}.png"
            save(root / mask, (labels == value).astype(np.uint8))
            table.setdefault(image, []).append(mask)
    (root / "image2label_train.json").write_text(json.dumps(table))


def _bsds(root: Path) -> None:
    for number, split in enumerate(("train", "train", "val")):
        labels, grey = _grey(number)
        save(root / "images" / split / f"{number}.jpg", _rgb(grey))
        cell = np.empty((1, 1), object)
        segments = (labels + 1).astype(np.uint16)
        cell[0, 0] = {"Segmentation": segments, "Boundaries": (labels > 0).astype(np.uint8)}
        (root / "groundTruth" / split).mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(root / "groundTruth" / split / f"{number}.mat", {"groundTruth": cell})


def _iphotodraw(root: Path) -> None:
    for number in range(COUNT):
        labels, grey = _grey(number)
        save(root / "raw_image" / f"{number:02d}.tif", _rgb(grey))
        shapes = "".join(
            '<Shape Type="SmoothPolygon"><Settings /><BlockText /><Data>'
            '<Extent X="0" Y="0" Width="9" Height="9" /><Points>'
            + "".join(f'<Point X="{x}" Y="{y}" />' for x, y in _corners(labels, value))
            + "</Points></Data></Shape>"
            for value in range(1, labels.max() + 1)
        )
        text = (
            '<?xml version="1.0" encoding="utf-8"?><Document FileVersion="1.0"><Layers><Layer>'
            f"<Shapes>{shapes}</Shapes></Layer></Layers></Document>"
        )
        folder = root / "contour_annotation_xml"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:02d}_data.xml").write_text(text, encoding="utf-8-sig")


def _stardist(root: Path) -> None:
    for number in range(COUNT):
        labels, grey = _grey(number)
        save(root / f"img{number}.tif", grey.astype(np.uint16) * 40)
        save(root / f"mask{number}.tif", (labels * 7).astype(np.uint16))
    stack = np.stack([_grey(number)[0] for number in range(3)]).astype(np.uint16)
    for name in ("img", "mask"):
        tifffile.imwrite(root / f"{name}9.tif", stack, imagej=True, metadata={"axes": "ZYX"})


MAKERS: dict[str, Callable[[Path], None]] = {
    "axondeepseg": _bids_microscopy,
    "brats2013": _brats,
    "bsds500": _bsds,
    "coco": _coco,
    "coralseg_eilatmixx": _pairs("images/{split}/{n}.png", "labels/{split}/{n}.png", _coral),
    "cvc_clinicdb": _pairs("images/f_{n}_fram.jpg", "masks/f_{n}_mask.jpg", _black_and_white),
    "drive": _pairs(
        "{drive}/images/{n}_{drive}.tif", "{drive}/1st_manual/{n}_manual1.gif", _black_and_white
    ),
    "dsb2018": _object_files,
    "gbm40": _iphotodraw,
    "grabcut": _pairs("images/{n}.jpg", "ground-truth/{n}.png", _with_unknown(128)),
    "isbi2012": _pairs("train/image/{n}.png", "train/label/{n}.png", _black_and_white),
    "labelme": _labelme,
    "nuinsseg": _pairs(
        "human liver/tissue images/liver_{n}.png",
        "human liver/label masks/liver_{n}.tif",
        lambda labels: labels.astype(np.uint16),
    ),
    "sammed2d": _sammed2d,
    "spine_mri": _bids,
    "stardist": _stardist,
    "suim": _pairs("images/{n}.jpg", "masks/{n}.bmp", _suim),
    "voc": _voc,
}
"""By the name of the fragment; `slicer` and `dicom` have fixtures of their own."""
