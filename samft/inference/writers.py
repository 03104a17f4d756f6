"""Prediction files: label maps, COCO JSON and overlay pictures, written one image at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import tifffile
from PIL import Image

from samft.errors import MachineError, OutputError
from samft.inference.overlay import Marks, draw_marks, draw_masks
from samft.inference.predictions import (
    ImagePrediction,
    decode_rle,
    label_map,
    rle_area,
    rle_box,
)

Format = Literal["png", "tiff", "coco", "overlay"]
NO_CLASS = "object"
"""COCO category of predictions without a class."""


class PredictionFiles:
    """Writes predictions below one folder, keeping the relative path of each image.

    `labels/<path>.png` and `.tif` hold label maps (0 background, k the k-th prompt's object),
    `overlays/<path>.png` pictures, `coco.json` all masks as COCO instances with a `score`. COCO
    entries go to a part file as they come and become `coco.json` in `close`, so memory does not
    grow with the number of images.

    Args:
        out: Folder for the results; created, must be empty or absent unless `overwrite`.
        formats: What to write.
        class_names: COCO categories to list even when nothing was found; those of the predictions
            are added, and `object` for predictions without a class.
        overwrite: Replace files of an earlier prediction.
        part: Distinguishes writers that share `out`, one per process.

    Raises:
        OutputError: if `out` holds files already, or an image's name would leave it.
    """

    def __init__(
        self,
        out: Path,
        formats: Sequence[Format],
        *,
        class_names: Sequence[str] | None = None,
        overwrite: bool = False,
        part: int = 0,
    ) -> None:
        self.out = out
        self.formats = tuple(formats)
        self.class_names = list(class_names or ())
        self.part = part
        self.count = 0
        refuse_to_overwrite(out, overwrite=overwrite)
        out.mkdir(parents=True, exist_ok=True)
        self._part_path(part).unlink(missing_ok=True)

    def write(self, prediction: ImagePrediction) -> None:
        """Write one image's results in every chosen format."""
        writers = {
            "png": self._write_png,
            "tiff": self._write_tiff,
            "coco": self._append_coco,
            "overlay": self._write_overlay,
        }
        for name in self.formats:
            writers[name](prediction)
        self.count += 1

    def close(self, *, parts: int = 1) -> None:
        """Join the part files of all writers into `coco.json`; call once, after every writer ended.

        Args:
            parts: How many writers shared the folder.
        """
        if "coco" not in self.formats:
            return
        paths = [path for part in range(parts) if (path := self._part_path(part)).exists()]
        lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
        entries = sorted((json.loads(line) for line in lines), key=_file_name)
        text = json.dumps(_coco_document(entries, self.class_names))
        write_atomically(
            self.out / "coco.json", lambda path: path.write_text(text, encoding="utf-8")
        )
        for path in paths:
            path.unlink()

    def _part_path(self, part: int) -> Path:
        return self.out / f"coco.{part}.jsonl.part"

    def _path(self, kind: str, sample_id: str, suffix: str) -> Path:
        path = PurePosixPath(sample_id.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise OutputError(
                "an image's name would be written outside the output folder",
                where=sample_id,
                fix="rename the image",
            )
        target = self.out / kind / path.parent / f"{path.name}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _write_png(self, prediction: ImagePrediction) -> None:
        labels = label_map(prediction.objects, prediction.size)
        if labels.max(initial=0) > np.iinfo(np.uint16).max:
            raise OutputError(
                "a PNG label map holds at most 65535 objects",
                where=prediction.sample_id,
                found=len(prediction.objects),
                fix="write --format tiff instead",
            )
        few = len(prediction.objects) <= np.iinfo(np.uint8).max
        picture = Image.fromarray(labels.astype(np.uint8 if few else np.uint16))
        write_atomically(
            self._path("labels", prediction.sample_id, ".png"),
            lambda path: picture.save(path, format="PNG"),
        )

    def _write_tiff(self, prediction: ImagePrediction) -> None:
        labels = label_map(prediction.objects, prediction.size)
        few = len(prediction.objects) <= np.iinfo(np.uint16).max
        array = labels.astype(np.uint16) if few else labels
        write_atomically(
            self._path("labels", prediction.sample_id, ".tif"),
            lambda path: tifffile.imwrite(path, array, compression="zlib"),
        )

    def _write_overlay(self, prediction: ImagePrediction) -> None:
        assert prediction.image is not None  # the caller keeps images when overlays are asked for
        masks = [decode_rle(item.rle) for item in prediction.objects]
        picture = draw_masks(prediction.image, masks)
        for item in prediction.objects:
            picture = draw_marks(picture, Marks.from_prompt(item.prompt))
        write_atomically(
            self._path("overlays", prediction.sample_id, ".png"),
            lambda path: Image.fromarray(picture).save(path, format="PNG"),
        )

    def _append_coco(self, prediction: ImagePrediction) -> None:
        height, width = prediction.size
        entry = {
            "file_name": prediction.sample_id,
            "height": height,
            "width": width,
            "objects": [
                {
                    "category": item.class_name or NO_CLASS,
                    "segmentation": item.rle,
                    "area": rle_area(item.rle),
                    "bbox": rle_box(item.rle),
                    "iscrowd": 0,
                    "score": item.score,
                    "prompt": item.prompt,
                    "prompt_id": item.prompt_id,
                }
                for item in prediction.objects
            ],
        }
        with self._part_path(self.part).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def refuse_to_overwrite(out: Path, *, overwrite: bool) -> None:
    """Raise unless `out` can take new results.

    Raises:
        OutputError: if `out` is a file, or holds files and `overwrite` is false.
    """
    if out.exists() and not out.is_dir():
        raise OutputError("the output folder is a file", where=out, fix="choose another --out")
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise OutputError(
            "the output folder is not empty",
            where=out,
            fix="choose another --out, or add --overwrite to replace what is there",
        )


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it: no half file is left.

    Raises:
        MachineError: if the disk is full or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MachineError(
            "a result could not be written", where=path, found=error.strerror or error
        ) from error


def _file_name(entry: dict[str, Any]) -> str:  # Any: JSON
    return str(entry["file_name"])


def _coco_document(
    entries: list[dict[str, Any]], class_names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    found = {item["category"] for entry in entries for item in entry["objects"]}
    names = [*class_names, *sorted(found - set(class_names))] or [NO_CLASS]
    ids = {name: number for number, name in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, entry in enumerate(entries, start=1):
        images.append({"id": image_id, **{k: v for k, v in entry.items() if k != "objects"}})
        for item in entry["objects"]:
            category = {"category_id": ids[item.pop("category")]}
            numbers = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append(numbers | category | item)
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return {"images": images, "annotations": annotations, "categories": categories}
