"""Label layers to a COCO file with run lengths, which give the same pixels back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.data.objects import Objects
from samft.data.patches import Patch
from samft.data.run_lengths import compress, encode
from samft.errors import OutputError
from samft.types import IGNORE


def write_coco(
    path: Path,
    images: Sequence[str],
    *,
    objects: Iterable[Objects],
    class_names: Sequence[str],
) -> None:
    """Write the objects of several images as COCO instances.

    Objects become annotations with compressed run lengths; pixels of which nothing is known become
    one crowd of the first class per image.

    Args:
        path: The JSON file; its folder must exist.
        images: Names of the images as they are to stand in the file.
        objects: The objects of each image, in the same order; taken one by one.
        class_names: Categories, numbered from 1.

    Raises:
        OutputError: if there are not as many objects as images, or an object has no class here.

    Source: https://cocodataset.org/#format-data
    """
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name, found in _paired(path, images, objects):
        height, width = found.layers.shape[1:]
        number = len(entries) + 1
        entries.append({"id": number, "file_name": name, "height": height, "width": width})
        for annotation in _annotations(path, found, len(class_names)):
            numbers = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(numbers | annotation)
    categories = [{"id": number, "name": name} for number, name in enumerate(class_names, start=1)]
    document = {"images": entries, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document), encoding="utf-8")


def _paired(
    path: Path, images: Sequence[str], objects: Iterable[Objects]
) -> Iterator[tuple[str, Objects]]:
    count = 0
    for count, found in enumerate(objects, start=1):  # counted below
        if count <= len(images):
            yield images[count - 1], found
    if count != len(images):
        raise OutputError(
            "images and objects are not as many",
            where=path,
            found=f"{len(images)} images, objects of {count}",
        )


def _annotations(path: Path, objects: Objects, num_classes: int) -> Iterator[dict[str, Any]]:
    size = (int(objects.layers.shape[1]), int(objects.layers.shape[2]))
    boxes = [ndimage.find_objects(np.maximum(layer, 0)) for layer in objects.layers]
    for row, (layer, category) in enumerate(
        zip(objects.object_layer.tolist(), objects.object_class.tolist(), strict=True)
    ):
        if not 0 <= category < num_classes:
            raise OutputError(
                "an object has a class without a name",
                where=path,
                found=f"class {category}",
                expected=f"0 to {num_classes - 1}",
            )
        box = boxes[layer][row] if row < len(boxes[layer]) else None
        if box is not None:
            mask = objects.layers[layer][box] == row + 1
            patch = Patch(box[0].start, box[1].start, mask)
            yield _annotation(patch, size, category, crowd=False)
    unknown = (objects.layers == IGNORE).any(axis=0)
    if unknown.any():
        yield _annotation(Patch(0, 0, unknown), size, 0, crowd=True)


def _annotation(
    patch: Patch, size: tuple[int, int], category: int, *, crowd: bool
) -> dict[str, Any]:
    counts = compress(encode(patch, size)).decode("ascii")
    return {
        "category_id": category + 1,
        "segmentation": {"size": list(size), "counts": counts},
        "area": int(np.count_nonzero(patch.mask)),
        "bbox": _outermost(patch.top, patch.left, patch.mask),
        "iscrowd": int(crowd),
    }


def _outermost(top: int, left: int, mask: NDArray[np.bool_]) -> list[int]:
    """Return x, y, width, height."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = left + int(columns[0]), top + int(rows[0])
    return [x, y, int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1]
