"""COCO instances: one JSON file with images, annotations and categories, of any size.

What is read is packed while the file is parsed, so the memory is that of the text and of the
packed numbers, not of millions of Python objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import UNNAMED
from samft.data.readers.coco_entries import (
    EXPECTED,
    AnnotationEntry,
    ImageEntry,
    categories_of,
    compact,
    flag_of,
    images_of,
    key_of,
    size_of,
)
from samft.data.readers.json_files import as_list, both_ends, read_json
from samft.data.readers.limits import unreadable
from samft.data.readers.segmentation import Packed, unpack
from samft.data.shapes import OUTSIDE, TOO_FEW_POINTS, Shape
from samft.errors import DatasetError

BOXES_ONLY = "annotations with a box but no outline"
"""What is said of annotations that object detection needs and segmentation cannot use."""
ORPHANS = "annotations of images that are not listed"
"""What is said of annotations whose image is missing from the file."""
REPEATED = "annotations that are there twice"
"""What is said of annotations with the number, image and outline of an earlier one."""
_BACKGROUND = {"background", "_background_", "__background__"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CocoFile:
    """What a COCO file says, packed.

    Args:
        path: The file.
        file_names: The images, as the file names them.
        sizes: (N, 2) int64 (height, width) of each image; 0 where the file does not say.
        class_names: The classes that annotations may have.
        first: (N + 1,) int64, where the annotations of each image begin in the next three.
        category: (M,) int32, index into `class_names`.
        is_crowd: (M,) bool.
        offsets: (M + 1,) int64, where each segmentation begins in `packed`.
        packed: The segmentations, one behind the other.
        left_out: What was left out, with its count.
        groups: Names of groups of classes (`supercategory`), in lower case.
    """

    path: Path
    file_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    class_names: tuple[str, ...]
    first: NDArray[np.int64]
    category: NDArray[np.int32]
    is_crowd: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    packed: bytes
    left_out: Counter[str]
    groups: frozenset[str] = frozenset()

    def size(self, row: int) -> tuple[int, int] | None:
        """Return the (height, width) that the file states of an image."""
        height, width = (int(side) for side in self.sizes[row])
        return (height, width) if height > 0 and width > 0 else None

    def shapes(self, row: int) -> list[Shape]:
        """Return the objects of an image in the order of the file."""
        return [self._shape(number) for number in range(self.first[row], self.first[row + 1])]

    def _shape(self, number: int) -> Shape:
        outline = unpack(self.packed[self.offsets[number] : self.offsets[number + 1]])
        return Shape(
            class_name=self.class_names[self.category[number]],
            outer=outline.rings,
            rle=outline.rle,
            unknown=bool(self.is_crowd[number]),
        )


def looks_like_coco(path: Path) -> bool:
    """Tell from both ends of a JSON file, whatever its size, whether it is of this format."""
    head, tail = both_ends(path)
    seen = head + tail
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or b'"segments_info"' in seen:
        return False
    images = b'"images"' in seen or (b'"file_name"' in seen and b'"height"' in seen)
    outlines = b'"category_id"' in seen or (b'"annotations"' in seen and b'"categories"' in seen)
    return images and outlines


def read_coco(path: Path) -> CocoFile:
    """Read a file of object instances: polygons, run lengths, crowds.

    Args:
        path: The file.

    Returns:
        Its images in its own order. Annotations without an outline, of images that are not
        listed, outside their image, or there twice are left out and counted.

    Raises:
        DatasetError: if it is damaged, has no outlines at all, or numbers of images or categories
            are used twice.

    Source: https://cocodataset.org/#format-data
    """
    document = read_json(path, EXPECTED, hook=compact)
    if not isinstance(document, dict):
        raise unreadable(path, f"{type(document).__name__} instead of an object", EXPECTED)
    images = images_of(path, document)
    names, categories, groups = categories_of(path, document.get("categories"))
    listed = document.get("annotations")
    if isinstance(listed, dict) and listed:  # by their numbers, as some files of LIVECell have it
        listed = list(listed.values())
    entries = as_list(listed, "annotations", path, EXPECTED)
    table = _Table(path, images, categories)
    for position, entry in enumerate(entries):
        table.add(position, entry)
    document.clear()
    return table.finished(names, groups)


class _Table:
    """Collects annotations, and sorts them by image."""

    def __init__(
        self, path: Path, images: dict[object, ImageEntry], categories: dict[object, int]
    ) -> None:
        self.path = path
        self.images = list(images.values())
        self.rows = {key: row for row, key in enumerate(images)}
        self.sizes = np.array([size_of(path, image) for image in self.images], np.int64)
        self.sizes = self.sizes.reshape(-1, 2)
        self.categories = categories
        self.left_out: Counter[str] = Counter()
        self.seen: set[tuple[object, int, int]] = set()
        self.row: list[int] = []
        self.category: list[int] = []
        self.crowd: list[bool] = []
        self.data: list[bytes] = []

    def add(self, position: int, entry: object) -> None:
        if not isinstance(entry, AnnotationEntry):
            raise unreadable(self.path, f"annotation {position + 1} without image_id", EXPECTED)
        label = f"annotation {position + 1 if entry.number is None else entry.number}"
        if isinstance(entry.outline, str):
            raise unreadable(self.path, f"{label}: {entry.outline}", "polygons or run lengths")
        row = self.rows.get(key_of(self.path, entry.image, "image_id"))
        if self._left_out(entry, entry.outline, row):
            return
        assert row is not None  # orphans are left out
        self._check_size(label, entry.outline, row)
        self.row.append(row)
        self.category.append(self._category(label, entry.category))
        self.crowd.append(flag_of(self.path, entry.crowd))
        self.data.append(entry.outline.data)

    def finished(self, names: tuple[str, ...], groups: frozenset[str]) -> CocoFile:
        if not self.data and self.left_out[BOXES_ONLY]:
            raise DatasetError(
                "the COCO file holds boxes but no outlines",
                where=self.path,
                found=f"{self.left_out[BOXES_ONLY]} annotations without segmentation",
                expected="segmentation of each annotation: polygons or run lengths",
                fix="export the annotations again as instance segmentation",
            )
        rows = np.array(self.row, np.int64)
        order = np.argsort(rows, kind="stable")
        data = [self.data[number] for number in order]
        return CocoFile(
            path=self.path,
            file_names=tuple(str(image.file_name) for image in self.images),
            sizes=self.sizes,
            class_names=names or (UNNAMED,),
            first=np.searchsorted(rows[order], np.arange(len(self.images) + 1)),
            category=np.array(self.category, np.int32)[order],
            is_crowd=np.array(self.crowd, np.bool_)[order],
            offsets=np.cumsum([0, *map(len, data)], dtype=np.int64),
            packed=b"".join(data),
            left_out=self.left_out,
            groups=groups,
        )

    def _left_out(self, entry: AnnotationEntry, outline: Packed, row: int | None) -> bool:
        if outline.too_few:
            self.left_out[TOO_FEW_POINTS] += outline.too_few
        reason = None
        if not outline.data:
            reason = None if outline.too_few else BOXES_ONLY
        elif row is None:
            reason = ORPHANS
        elif self._outside(outline, row):
            reason = OUTSIDE
        elif self._repeated(entry, outline, row):
            reason = REPEATED
        else:
            return False
        if reason:
            self.left_out[reason] += 1
        return True

    def _outside(self, outline: Packed, row: int) -> bool:
        height, width = self.sizes[row]
        top, left, bottom, right = outline.box
        beyond = height > 0 and width > 0 and (top >= height or left >= width)
        return bool(bottom <= 0 or right <= 0 or beyond)

    def _repeated(self, entry: AnnotationEntry, outline: Packed, row: int) -> bool:
        if entry.number is None:
            return False
        number = key_of(self.path, entry.number, "id of an annotation")
        mark = (number, row, hash(outline.data))
        if mark in self.seen:
            return True
        self.seen.add(mark)
        return False

    def _check_size(self, label: str, outline: Packed, row: int) -> None:
        height, width = (int(side) for side in self.sizes[row])
        if outline.size is not None and height > 0 and outline.size != (height, width):
            raise DatasetError(
                "run lengths of a mask are not of the image's size",
                where=f"{self.path}, {label}",
                found=list(outline.size),
                expected=f"{[height, width]} (height, width) of {self.images[row].file_name}",
                fix="export masks and images at the same size",
            )

    def _category(self, label: str, number: object) -> int:
        if not self.categories:
            return 0
        index = None if number is None else self.categories.get(key_of(self.path, number, label))
        if index is None:
            raise DatasetError(
                "an annotation has a category that is not listed",
                where=f"{self.path}, {label}",
                found=f"category_id {number}",
                expected=", ".join(map(str, list(self.categories)[:8])),
                fix="add it to categories",
            )
        return index


def classes_of(files: Sequence[CocoFile]) -> tuple[str, ...]:
    """Return the classes of several files, in their order.

    A background, and the name of a group of classes (Roboflow lists one as category 0), are left
    out where no annotation has them.
    """
    names = dict.fromkeys(name for file in files for name in file.class_names)
    used = {file.class_names[index] for file in files for index in np.unique(file.category)}
    groups = {group for file in files for group in file.groups}
    kept = tuple(n for n in names if n in used or (n.lower() not in _BACKGROUND | groups))
    return kept or tuple(names)
