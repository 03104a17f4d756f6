"""The entries of a COCO file, each reduced to what is needed as soon as it is parsed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samft.data.readers.json_files import as_list
from samft.data.readers.limits import unreadable
from samft.data.readers.segmentation import Packed, pack
from samft.errors import DatasetError

EXPECTED = "a COCO file with images, annotations and categories"
"""What is said of files that are something else."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image as the file has it, unchecked.

    Args:
        number: Its `id`.
        file_name: Its name.
        height: In pixels.
        width: In pixels.
    """

    number: object
    file_name: object
    height: object
    width: object


@dataclass(frozen=True, slots=True)
class AnnotationEntry:
    """An annotation as the file has it; only the outline is checked.

    Args:
        number: Its `id`.
        image: `image_id`.
        category: `category_id`.
        crowd: `iscrowd`.
        outline: The packed segmentation, or what is wrong with it.
    """

    number: object
    image: object
    category: object
    crowd: object
    outline: Packed | str


def compact(entry: dict[str, Any]) -> object:
    """Replace images and annotations by what is needed of them, as soon as they are parsed."""
    if "image_id" in entry and ("segmentation" in entry or "bbox" in entry):
        return AnnotationEntry(
            entry.get("id"),
            entry["image_id"],
            entry.get("category_id"),
            entry.get("iscrowd", 0),
            _packed(entry.get("segmentation")),
        )
    if "file_name" in entry and "id" in entry:
        return ImageEntry(entry["id"], entry["file_name"], entry.get("height"), entry.get("width"))
    return entry


def _packed(segmentation: object) -> Packed | str:
    """Return the packed outline, or what is wrong with it; who it belongs to is not known yet."""
    if not segmentation:
        return Packed(b"")
    try:
        return pack(segmentation)
    except ValueError as error:
        return str(error)


def images_of(path: Path, document: dict[str, Any]) -> dict[object, ImageEntry]:
    """Return the images by their id.

    Raises:
        DatasetError: if an id is used twice, or an image has no id or name.
    """
    images: dict[object, ImageEntry] = {}
    for position, entry in enumerate(as_list(document.get("images"), "images", path, EXPECTED)):
        if not isinstance(entry, ImageEntry) or not isinstance(entry.file_name, str):
            raise unreadable(path, f"image {position + 1} without id and file_name", EXPECTED)
        key = key_of(path, entry.number, "id of an image")
        if key in images:
            raise DatasetError(
                "two images of a COCO file have the same id",
                where=path,
                found=f"id {entry.number}: {images[key].file_name} and {entry.file_name}",
                expected="a number for each image",
                fix="number the images anew, and image_id of the annotations with them",
            )
        images[key] = entry
    return images


def categories_of(
    path: Path, value: object
) -> tuple[tuple[str, ...], dict[object, int], frozenset[str]]:
    """Return the class names, the index of each category's number among them, and the groups.

    Raises:
        DatasetError: if a number stands for two names, or a category has no id or name.
    """
    entries = [] if value is None else as_list(value, "categories", path, EXPECTED)
    names: dict[str, int] = {}
    found: dict[object, int] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise unreadable(path, "a category without id and name", EXPECTED)
        key = key_of(path, entry.get("id"), "id of a category")
        index = names.setdefault(entry["name"], len(names))
        if found.setdefault(key, index) != index:
            other = list(names)[found[key]]
            raise DatasetError(
                "two categories of a COCO file have the same id",
                where=path,
                found=f"id {entry['id']}: {other} and {entry['name']}",
                expected="a number for each category",
                fix="number the categories anew, and category_id of the annotations with them",
            )
    groups = (str(entry.get("supercategory")).lower() for entry in entries)
    return tuple(names), found, frozenset(groups)


def key_of(path: Path, value: object, what: str) -> object:
    """Return an id such that 7, 7.0 and "7" are the same.

    Raises:
        DatasetError: if it is neither number nor text.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 19 else value
    if isinstance(value, int):
        return value
    raise unreadable(path, f"{value!r:.40} as {what}", "a number")


def size_of(path: Path, image: ImageEntry) -> tuple[int, int]:
    """Return (height, width), both 0 where the file does not say.

    Raises:
        DatasetError: if they are no numbers of pixels.
    """
    sides = (image.height, image.width)
    if any(side in (None, 0, "") for side in sides):
        return 0, 0
    try:
        height, width = (int(str(side)) for side in sides)
    except ValueError:
        height = width = -1
    if not 0 < height < 2**31 or not 0 < width < 2**31:
        raise unreadable(
            path, f"{image.file_name} of {sides[0]!r:.20} x {sides[1]!r:.20}", "pixels"
        )
    return height, width


def flag_of(path: Path, value: object) -> bool:
    """Return whether `iscrowd` is set.

    Raises:
        DatasetError: if it is neither 0 nor 1.
    """
    if value in (None, 0, "0", ""):
        return False
    if value in (1, "1"):
        return True
    raise unreadable(path, f"iscrowd {value!r:.20}", "0 or 1")
