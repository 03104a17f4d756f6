"""labelme's JSON, one file per image.

Coordinates are continuous, from the upper left corner of the image: the canvas draws the picture at
(0, 0) and stores where the mouse was. (Its converters to VOC and COCO masks draw with Pillow, which
takes them for centres of pixels, so these masks are up to a pixel larger to the right and below.)
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samft.data.readers.json_files import read_json
from samft.data.readers.limits import check_file_size, reading, unreadable
from samft.data.readers.outlines import LabelledImage, Outlines, ellipse, rectangle
from samft.data.shapes import Shape

EXPECTED = "labelme's JSON"
IGNORE_NAME = "__ignore__"
"""Label of regions of which nothing is known, as in labelme's own converters."""
BACKGROUND_NAME = "_background_"
"""Label of regions that are no object; drawn over others it cuts out of them."""

# A polygon without a type is one of version 3; the last two are of X-AnyLabeling and labelme 6.
_POLYGONS: Final = (None, "", "polygon", "rotation", "oriented_rectangle")
_NO_AREA: Final = ("line", "linestrip", "point", "points")
_MOST_CUTS: Final = 100_000  # of regions of background out of shapes


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelmeFile:
    """What a file of labelme holds.

    Args:
        labelled: Its shapes; parts of one object, that is of the same label and `group_id`, have
            the same group.
        has_image: Whether the image itself is in it.
    """

    labelled: LabelledImage
    has_image: bool


def is_labelme(content: object) -> bool:
    """Tell whether parsed JSON is a file of labelme."""
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read_labelme(path: Path) -> LabelmeFile | None:
    """Read a file of labelme, of any version.

    Flags and descriptions say nothing about the outline and are not read.

    Returns:
        What it holds; `None` if it is well made JSON but not labelme's.

    Raises:
        DatasetError: if it is damaged.
    """
    content = read_json(path, EXPECTED)
    if not is_labelme(content):
        return None
    shapes, named = content["shapes"], content["imagePath"]
    if not isinstance(shapes, list) or not isinstance(named, str | None):
        raise unreadable(path, f"shapes: {_kind(shapes)}, imagePath: {_kind(named)}", EXPECTED)
    found = Outlines(path)
    cuts: list[_Cut] = []
    for shape in shapes:
        _add(found, shape, cuts)
    _cut_out(found, cuts)
    return LabelmeFile(
        labelled=found.labelled(size=_stated_size(content, path), image_name=named),
        has_image=bool(content.get("imageData")),
    )


def read_label_names(path: Path) -> tuple[str, ...]:
    """Return the classes of a `labels.txt`, one a line, without `__ignore__` and `_background_`.

    Raises:
        DatasetError: if it is not text.
    """
    with reading(path, "class names, one a line"):
        check_file_size(path)
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    names = [name for name in lines if name not in ("", IGNORE_NAME, BACKGROUND_NAME)]
    return tuple(dict.fromkeys(names))


class _Cut(NamedTuple):
    """A region that is no object.

    Args:
        before: How many shapes were drawn before it, out of which it cuts.
        ring: Its outline.
    """

    before: int
    ring: NDArray[np.float64]


def _add(found: Outlines, shape: object, cuts: list[_Cut]) -> None:
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        raise unreadable(found.path, f"a shape without label: {_kind(shape)}", EXPECTED)
    label, kind = shape["label"], shape.get("shape_type")
    if kind in _NO_AREA:
        found.leave_out(f"{kind}, which has no area")
        return
    if kind == "mask":
        outline = _bitmap(found, shape)
    else:
        points = _points(found, shape, kind)
        ring = None if points is None else found.ring(points)
        if ring is not None and label == BACKGROUND_NAME:
            cuts.append(_Cut(len(found.shapes), ring))
            return
        outline = None if ring is None else Shape(class_name=label, outer=(ring,))
    if outline is None:
        return
    if label == BACKGROUND_NAME:
        found.leave_out(f"mask of {BACKGROUND_NAME}")
        return
    group = shape.get("group_id")
    found.shapes.append(
        replace(
            outline,
            class_name=label,
            unknown=label == IGNORE_NAME,
            group=None if group is None else f"{label} {group}",
        )
    )


def _points(found: Outlines, shape: Mapping[str, Any], kind: object) -> Any:  # Any: JSON
    """Return the vertices of what is not a mask, as they are; `None`, counted, if unknown."""
    points = shape.get("points")
    if not isinstance(points, list):
        raise unreadable(found.path, f"points: {_kind(points)}", EXPECTED)
    if kind in _POLYGONS or (kind == "rectangle" and len(points) == 4):
        return points
    if kind not in ("rectangle", "circle"):
        found.leave_out(f"shape_type {str(kind)[:20]!r}, which is not known")
        return None
    (x0, y0), (x1, y1) = _two(found, points)
    if kind == "circle":  # its centre, and a point on its line
        radius = math.hypot(x1 - x0, y1 - y0)
        return ellipse((x0, y0), (radius, radius))
    return rectangle(x0, y0, x1, y1)


def _two(found: Outlines, points: list[Any]) -> tuple[tuple[float, float], tuple[float, float]]:
    try:
        (x0, y0), (x1, y1) = points
        numbers = [float(value) for value in (x0, y0, x1, y1)]
    except (TypeError, ValueError, OverflowError) as error:
        text = f"{len(points)} points of a rectangle, circle or mask"
        raise unreadable(found.path, text, "two points, x and y each") from error
    if not all(math.isfinite(value) for value in numbers):
        raise unreadable(found.path, f"the point {points}"[:80], "finite numbers")
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def _cut_out(found: Outlines, cuts: Sequence[_Cut]) -> None:
    """Cut out of what was drawn before, as the converters do that paint one over the other."""
    if not cuts:
        return
    boxes = np.array([_box(shape) for shape in found.shapes]).reshape(-1, 2, 2)
    holes: dict[int, list[NDArray[np.float64]]] = {}
    total = 0
    for before, ring in cuts:
        low, high = boxes[:before, 0], boxes[:before, 1]
        meets = ((low < ring.max(axis=0)) & (high > ring.min(axis=0))).all(axis=1)
        hit = np.flatnonzero(meets).tolist()
        total += len(hit)
        if total > _MOST_CUTS:
            raise unreadable(found.path, f"more than {_MOST_CUTS} cuts by background", EXPECTED)
        if not hit:
            found.leave_out(f"{BACKGROUND_NAME} over nothing")
        for index in hit:
            holes.setdefault(index, []).append(ring)
    for index, rings in holes.items():
        found.shapes[index] = replace(found.shapes[index], holes=tuple(rings))


def _box(shape: Shape) -> NDArray[np.float64]:
    """Return the (2, 2) corners of what can be cut, nothing at infinity of other shapes."""
    if not shape.outer or shape.unknown:
        return np.full((2, 2), np.inf)
    return np.array([shape.outer[0].min(axis=0), shape.outer[0].max(axis=0)])


def _bitmap(found: Outlines, shape: Mapping[str, Any]) -> Shape | None:
    """Return a mask: a PNG of its bounding box, from the first corner on."""
    points, coded = shape.get("points"), shape.get("mask")
    if not isinstance(coded, str) or not isinstance(points, list):
        raise unreadable(found.path, f"a mask of {_kind(coded)}", "a PNG in base64")
    (left, top), _ = _two(found, points)
    with (
        reading(found.path, f"{EXPECTED}, its masks PNG in base64"),
        Image.open(io.BytesIO(base64.b64decode(coded)), formats=("PNG",)) as picture,
    ):
        found.reserve_bitmap(picture.height, picture.width)
        values = np.asarray(picture.convert("L" if picture.mode != "P" else "RGB"))
    bright = values > 0
    inside = np.asarray(bright if bright.ndim == 2 else bright.any(axis=-1))
    if not inside.any():
        found.leave_out("empty mask")
        return None
    return Shape(class_name="", bitmap=inside, bitmap_at=(round(left), round(top)))


def _stated_size(content: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if height is None or width is None:
        return None
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        raise unreadable(path, f"imageHeight {height!r}, imageWidth {width!r}"[:80], "pixels")
    return height, width


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
