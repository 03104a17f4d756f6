"""COCO: all masks as instances, and as results for an annotation file that exists already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samft.data.readers.limits import check_file_size
from samft.errors import DatasetError
from samft.inference.formats.base import ResultFormat
from samft.inference.output_folder import OutputFolder
from samft.inference.predictions import ImagePrediction, ObjectPrediction, rle_area, rle_box

NO_CLASS = "object"
_NO_COCO = (OSError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
"""COCO category of predictions without a class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoNumbers:
    """The numbers that a COCO file gives to images and categories.

    Args:
        images: By file name.
        categories: By name.
    """

    images: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> CocoNumbers:
        """Take them from an annotation file.

        Raises:
            DatasetError: if it is none.
        """
        try:
            check_file_size(path)
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                images={str(item["file_name"]): int(item["id"]) for item in content["images"]},
                categories={str(item["name"]): int(item["id"]) for item in content["categories"]},
            )
        except _NO_COCO as error:
            raise DatasetError(
                "the COCO file cannot be read",
                where=path,
                found=f"{type(error).__name__}: {error}",
                expected="JSON with images and categories",
            ) from error

    def image(self, name: str) -> int | None:
        """Return the number of an image, by its path or else by its bare name."""
        return self.images.get(name, self.images.get(name.rpartition("/")[2]))


class CocoInstances(ResultFormat):
    """`coco.json`: images, annotations with score and prompt, categories.

    Args:
        folder: Where results go.
        class_names: Categories to list even when nothing was found.
    """

    def __init__(self, folder: OutputFolder, class_names: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self.class_names = tuple(class_names)

    def finish(self, predictions: Iterable[ImagePrediction]) -> list[Path]:
        """See `ResultFormat`."""
        entries = list(predictions)
        ids = {name: number for number, name in enumerate(_names(entries, self.class_names), 1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, entry in enumerate(entries, start=1):
            height, width = entry.size
            images.append(
                {"id": image_id, "file_name": entry.sample_id, "height": height, "width": width}
            )
            for item in entry.objects:
                numbers = {"id": len(annotations) + 1, "image_id": image_id}
                annotations.append(numbers | _annotation(item, ids))
        categories = [{"id": number, "name": name} for name, number in ids.items()]
        document = {"images": images, "annotations": annotations, "categories": categories}
        return [_write_json(self.folder, "coco.json", document)]


class CocoResults(ResultFormat):
    """`coco_results.json`: the list that `COCO.loadRes` reads.

    Images and categories have the numbers of `coco.json`, or those of an annotation file; images
    that are not in that file are left out.

    Args:
        folder: Where results go.
        class_names: As for `CocoInstances`.
        numbers: Those of an annotation file.
    """

    def __init__(
        self,
        folder: OutputFolder,
        class_names: Sequence[str] = (),
        numbers: CocoNumbers | None = None,
    ) -> None:
        super().__init__(folder)
        self.class_names = tuple(class_names)
        self.numbers = numbers

    def finish(self, predictions: Iterable[ImagePrediction]) -> list[Path]:
        """See `ResultFormat`."""
        entries = list(predictions)
        numbers = self.numbers or CocoNumbers(
            images={entry.sample_id: number for number, entry in enumerate(entries, start=1)},
            categories={
                name: number for number, name in enumerate(_names(entries, self.class_names), 1)
            },
        )
        results = [
            result
            for entry in entries
            if (image_id := numbers.image(entry.sample_id)) is not None
            for item in entry.objects
            if (result := _result(item, image_id, numbers.categories)) is not None
        ]
        return [_write_json(self.folder, "coco_results.json", results)]


def _names(entries: Sequence[ImagePrediction], class_names: Sequence[str]) -> list[str]:
    found = {item.class_name or NO_CLASS for entry in entries for item in entry.objects}
    return [*class_names, *sorted(found - set(class_names))] or [NO_CLASS]


def _annotation(item: ObjectPrediction, ids: Mapping[str, int]) -> dict[str, Any]:
    return {
        "category_id": ids[item.class_name or NO_CLASS],
        "segmentation": item.rle,
        "area": rle_area(item.rle),
        "bbox": rle_box(item.rle),
        "iscrowd": 0,
        "score": item.score,
        "prompt": item.prompt,
        "prompt_id": item.prompt_id,
    }


def _result(
    item: ObjectPrediction, image_id: int, categories: Mapping[str, int]
) -> dict[str, Any] | None:
    category = categories.get(item.class_name or NO_CLASS)
    if category is None and len(categories) == 1 and item.class_name is None:
        category = next(iter(categories.values()))  # there is but one thing it can be
    if category is None:
        return None
    return {
        "image_id": image_id,
        "category_id": category,
        "segmentation": item.rle,
        "bbox": rle_box(item.rle),
        "score": item.score,
    }


def _write_json(folder: OutputFolder, name: str, content: object) -> Path:
    text = json.dumps(content)
    return folder.write(folder.root / name, lambda path: path.write_text(text, encoding="utf-8"))
