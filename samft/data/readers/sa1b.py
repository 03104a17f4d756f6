"""SA-1B: one JSON file per image with its masks as run lengths, and SA-V's files of masklets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samft.data.classes import UNNAMED
from samft.data.readers.json_files import as_list, both_ends, read_json
from samft.data.readers.limits import unreadable
from samft.data.readers.outlines import LabelledImage
from samft.data.readers.segmentation import pack, unpack
from samft.data.shapes import Shape
from samft.errors import DatasetError

_EXPECTED = "a file of SA-1B with image and annotations"
_NO_MASK = "annotations without a mask"


def is_sa1b(document: object) -> bool:
    """Tell whether a JSON document has the layout of SA-1B."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("image"), dict)
        and isinstance(document.get("annotations"), list)
        and "categories" not in document
    )


def looks_like_sa1b(path: Path) -> bool:
    """Tell from both ends of a JSON file whether it has the layout of SA-1B."""
    head, tail = both_ends(path)
    seen = head + tail
    return b'"image"' in seen and b'"annotations"' in seen and b'"categories"' not in seen


def is_masklets(path: Path) -> bool:
    """Tell from both ends of a JSON file whether it holds masklets of a video of SA-V."""
    head, tail = both_ends(path)
    seen = head + tail
    return head.lstrip().startswith(b"{") and b'"masklet"' in seen and b'"video_id"' in seen


def read_sa1b(path: Path) -> LabelledImage:
    """Read the masks of one image: those of the data set, or that `samft predict` wrote.

    Args:
        path: The JSON file.

    Raises:
        DatasetError: if it is damaged, or a mask is of another size than the image.

    Source: Kirillov et al. 2023, arXiv:2304.02643, section 5; the released data set's own layout.
    """
    document = read_json(path, _EXPECTED)
    if not is_sa1b(document):
        raise unreadable(path, "no image and annotations", _EXPECTED)
    size = _size(path, document["image"])
    shapes: list[Shape] = []
    left_out: dict[str, int] = {}
    for position, entry in enumerate(
        as_list(document["annotations"], "annotations", path, _EXPECTED)
    ):
        shape = _shape(path, position, entry, size)
        if shape is None:
            left_out[_NO_MASK] = left_out.get(_NO_MASK, 0) + 1
        else:
            shapes.append(shape)
    name = document["image"].get("file_name")
    return LabelledImage(
        shapes=tuple(shapes),
        size=size,
        image_name=name if isinstance(name, str) else None,
        left_out=left_out,
    )


def _shape(
    path: Path, position: int, entry: Any, size: tuple[int, int] | None
) -> Shape | None:  # Any: JSON
    label = f"annotation {position + 1}"
    if not isinstance(entry, dict):
        raise unreadable(path, f"{label} is no object", _EXPECTED)
    segmentation = entry.get("segmentation")
    if not segmentation:
        return None
    try:
        packed = pack(segmentation)
    except ValueError as error:
        raise unreadable(path, f"{label}: {error}", "run lengths or polygons") from error
    if packed.size is not None and size is not None and packed.size != size:
        raise DatasetError(
            "run lengths of a mask are not of the image's size",
            where=f"{path}, {label}",
            found=list(packed.size),
            expected=f"{list(size)} (height, width)",
            fix="export masks and images at the same size",
        )
    if not packed.data:
        return None
    outline = unpack(packed.data)
    return Shape(class_name=UNNAMED, outer=outline.rings, rle=outline.rle)


def _size(path: Path, image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    if height is None or width is None:
        return None
    if not all(isinstance(side, int) and 0 < side < 2**31 for side in (height, width)):
        raise unreadable(path, f"an image of {height!r:.20} x {width!r:.20}", "pixels")
    return height, width
