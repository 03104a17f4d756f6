"""Target: a whole data folder; names and contents of its files come from the input."""

from __future__ import annotations

import base64
import json
import random
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.fuzzing.mutation import mutate_json
from benchmarks.fuzzing.places import with_own_places
from benchmarks.fuzzing.target import Target
from benchmarks.fuzzing.targets.archives import encoded_image, encoded_mask
from samft.data.layouts.base import LayoutSettings
from samft.data.layouts.registry import layout_class, recognise
from samft.data.preprocessing import Preprocessing
from samft.errors import SamftError

_MOST_FILES: Final = 40
_MOST_RECORDS: Final = 3
_NAMES: Final = (
    *("train/images/a.png", "labels/a.txt", "a.nii.gz", "a.zarr/.zattrs", "dataset.json", "x.json"),
    *("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "a\nb.png", "\x1b[31m.png", "a\u202eb.png"),
    *("\udcff.png", "x" * 250 + ".png", "é.png", "e\u0301.png", "A.PNG", "a.png", "a.json"),
    *("a.dcm", "DICOMDIR", "Annotations/a.xml", "SegmentationClass/a.png", "a.seg.nrrd"),
    *("01/t000.tif", "01_GT/SEG/man_seg000.tif", "ground_truth/a.mat", "metadata.csv"),
    *("sub-1/anat/sub-1_T1w.nii.gz", "state.json", "data.parquet", "data.arrow", "annotations.xml"),
    *("classes.txt", "pairs.csv"),
)  # fmt: skip


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (Target("folder", "listing.json", with_own_places(_read_folder), _seeds, mutate_folder),)


def _read_folder(path: Path) -> object:
    try:
        listed = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    root = path.parent / "data"
    root.mkdir()
    _write(root, listed if isinstance(listed, dict) else {})
    found = recognise(root)
    for one in found:
        with suppress(SamftError):  # of one layout; the others are to be tried as well
            _read_as(one.name, root)
    return found


def _read_as(name: str, root: Path) -> None:
    layout = layout_class(name)(root, LayoutSettings())
    records = layout.records()[:_MOST_RECORDS]
    layout.check(records)
    for record in records:
        layout.truth(record)
        layout.source(record, Preprocessing()).picture(record.slice_index or 0)
    _ = layout.class_names, layout.concluded


def _write(root: Path, listed: Mapping[str, Any]) -> None:
    """Write files as far as the file system takes their names."""
    for name, content in list(listed.items())[:_MOST_FILES]:
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        if not parts:
            continue
        place = root.joinpath(*parts)
        with suppress(OSError, ValueError, UnicodeError):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(_bytes_of(content))


def _bytes_of(content: object) -> bytes:
    """Return what is in a file: text as it stands, JSON as JSON, other bytes in base64."""
    if isinstance(content, dict) and isinstance(content.get("base64"), str):
        with suppress(ValueError):
            return base64.b64decode(content["base64"])
    if isinstance(content, str):
        return content.encode("utf-8", "surrogatepass")
    return json.dumps(content).encode()


def mutate_folder(data: bytes, seed: int) -> bytes:
    """Change a name or a content, or give one file's content to another name."""
    chance = random.Random(seed)  # noqa: S311  (no secret)
    try:
        listed = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(listed, dict) or not listed or chance.randrange(2):
        return mutate_json(data, seed)
    content = listed[chance.choice(list(listed))]
    listed[chance.choice(_NAMES)] = content
    return json.dumps(listed).encode()


# --- seeds ------------------------------------------------------------------------------------


def _seeds(folder: Path) -> Sequence[bytes]:
    shutil.rmtree(folder, ignore_errors=True)
    image, mask = ({"base64": base64.b64encode(one).decode()} for one in
                   (encoded_image(), encoded_mask()))  # fmt: skip
    size = {"width": 8, "height": 8}
    outline = [[1, 1, 5, 1, 5, 5, 1, 5]]
    coco = {
        "images": [{"id": 1, "file_name": "a.png", **size}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": outline}],
    }
    sa1b = {"image": {"image_id": 1, "file_name": "a.png", **size},
            "annotations": [{"id": 1, "segmentation": outline, "area": 9}]}  # fmt: skip
    shape = {"label": "a", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"}
    labelme = {"shapes": [shape], "imagePath": "a.png", "imageHeight": 8, "imageWidth": 8}
    sides = "<width>8</width><height>8</height><depth>3</depth>"
    voc = f"<annotation><filename>a.png</filename><size>{sides}</size></annotation>"
    folders = [
        {"images/a.png": image, "masks/a.png": mask},
        {"train/images/a.png": image, "train/masks/a.png": mask, "val/images/b.png": image,
         "val/masks/b.png": mask},
        {"annotations/instances_train.json": coco, "train/a.png": image},
        {"a.png": image, "a.json": sa1b},
        {"a.png": image, "a.json": labelme},
        {"JPEGImages/a.png": image, "SegmentationClass/a.png": mask, "Annotations/a.xml": voc,
         "SegmentationObject/a.png": mask, "ImageSets/Segmentation/train.txt": "a\n"},
        {"a/images/a.png": image, "a/masks/1.png": mask, "a/masks/2.png": mask},
        {"pairs.csv": "image,mask\na.png,b.png\n", "a.png": image, "b.png": mask},
        {"dataset.json": {"channel_names": {"0": "x"}, "labels": {"background": 0, "one": 1},
                          "numTraining": 1, "file_ending": ".png"},
         "imagesTr/a_0000.png": image, "labelsTr/a.png": mask},
        {"metadata.csv": "file_name,mask_file_name\na.png,b.png\n", "a.png": image, "b.png": mask},
        {"train_val/images/a.png": image, "train_val/masks/a.bmp": mask},
        {"01/t000.png": image, "01_GT/SEG/man_seg000.png": mask},
        {"label2image_train.json": {"labels/a.png": "images/a.png"}, "images/a.png": image,
         "labels/a.png": mask},
    ]  # fmt: skip
    return [json.dumps(one).encode() for one in folders]
