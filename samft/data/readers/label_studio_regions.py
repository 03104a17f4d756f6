"""What is drawn on an image in Label Studio, from percent to pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import UNNAMED
from samft.data.readers.brush_masks import decode_brush, decode_data_url
from samft.data.readers.limits import check_declared_size, unreadable
from samft.data.readers.outlines import Outlines, ellipse
from samft.data.shapes import Shape

Kind = Literal["brush", "bitmask", "polygon", "rectangle", "ellipse"]
OPEN_PATHS = "open paths"
"""What is said of vectors that enclose nothing."""
CURVED = "paths with curves"
"""What is said of vectors that are not made of straight pieces."""
NO_OUTLINE = "regions that are no outlines, such as key points"
"""What is said of what is drawn but encloses nothing."""
_EXPECTED = "regions of Label Studio"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Region:
    """One region.

    Args:
        kind: Its form.
        labels: Its classes, `object` where it has none.
        values: (N, 2) points of a polygon; x, y, width, height, rotation of a rectangle; x, y and
            two radii and rotation of an ellipse; percent of the image and degrees.
        data: The bytes of a brush.
        url: The picture of a bitmask.
        size: (height, width) of the image, where it is stated.
        item: Which page of a task of several images.
        turned: Whether it was drawn while the view was rotated.
    """

    kind: Kind
    labels: tuple[str, ...]
    values: NDArray[np.float64] | None = None
    data: bytes = b""
    url: str = ""
    size: tuple[int, int] | None = None
    item: int = 0
    turned: bool = False


def regions_of(
    path: Path, where: str, result: Sequence[Any], left_out: Counter[str]
) -> list[Region]:
    """Return the regions of an annotation.

    Args:
        path: The file, for messages.
        where: The task, for messages.
        result: The annotation's result.
        left_out: Counts what is no outline.

    Raises:
        DatasetError: if a region is damaged.
    """
    geometry: dict[object, Mapping[str, Any]] = {}
    labels: dict[object, dict[str, None]] = {}
    for position, item in enumerate(result):
        if not isinstance(item, dict):
            raise unreadable(path, f"{where}: a region that is no object", _EXPECTED)
        value = item.get("value")
        if not isinstance(value, dict):
            continue  # a relation between regions
        # A region and its labels can be two entries with one id.
        key = item.get("id") if isinstance(item.get("id"), str) else position
        labels.setdefault(key, {}).update(dict.fromkeys(_labels(value)))
        if key not in geometry and _is_drawn(value):
            geometry[key] = item
    regions = []
    for key, item in geometry.items():
        region = _region(path, where, item, tuple(labels[key]) or (UNNAMED,))
        if isinstance(region, str):
            left_out[region] += 1
        else:
            regions.append(region)
    return regions


def shape_of(
    region: Region, size: tuple[int, int], classes: Collection[str], path: Path
) -> Shape | None:
    """Return a region as a shape in pixels.

    Args:
        region: The region.
        size: (height, width) of the image.
        classes: The classes that count; the first of the region's labels among them is taken.
        path: The file, for messages.

    Returns:
        The shape; `None` if it is of no class that counts.

    Raises:
        DatasetError: if a mask is damaged or of another size.
    """
    name = next((label for label in region.labels if label in classes), None)
    if name is None:
        return None
    if region.kind in ("brush", "bitmask"):
        return _painted(region, size, name, path)
    assert region.values is not None  # all other kinds have them
    scale = np.array([size[1], size[0]], np.float64) / 100
    ring = region.values if region.kind == "polygon" else _outline(region, scale)
    return Shape(class_name=name, outer=(ring * scale if region.kind == "polygon" else ring,))


def _painted(region: Region, size: tuple[int, int], name: str, path: Path) -> Shape | None:
    check_declared_size(path, (*size, 4), 1)
    try:
        if region.kind == "brush":
            mask = decode_brush(region.data, size)
        else:
            mask = decode_data_url(region.url, size)
    except ValueError as error:
        raise unreadable(path, str(error), "a mask of the image's size") from error
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    top, left = int(rows[0]), int(columns[0])
    inside = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].copy()
    return Shape(class_name=name, bitmap=inside, bitmap_at=(left, top))


def _outline(region: Region, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    assert region.values is not None  # rectangles and ellipses have them
    x, y, first, second, degrees = region.values
    corner, sides = np.array([x, y]) * scale, np.array([first, second]) * scale
    if region.kind == "ellipse":  # turned about its centre
        return ellipse(
            (float(corner[0]), float(corner[1])),
            (float(sides[0]), float(sides[1])),
            degrees=float(degrees),
        )
    # A rectangle is turned clockwise about its upper left corner.
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, down = sides[0] * np.array([cosine, sine]), sides[1] * np.array([-sine, cosine])
    corners: NDArray[np.float64] = corner + np.array([0 * along, along, along + down, down])
    return corners


def _labels(value: Mapping[str, Any]) -> list[str]:
    return [
        name
        for key, names in value.items()
        if key.endswith("labels") and isinstance(names, list)
        for name in names
        if isinstance(name, str)
    ]


def _is_drawn(value: Mapping[str, Any]) -> bool:
    drawn = ("rle", "imageDataURL", "points", "vertices", "x", "sequence")
    return any(key in value for key in drawn)


def _region(
    path: Path, where: str, item: Mapping[str, Any], labels: tuple[str, ...]
) -> Region | str:
    """Return a region, or what is said of it if it is no outline."""
    value: Mapping[str, Any] = item["value"]
    number = item.get("item_index", 0)
    common: dict[str, Any] = {
        "labels": labels,
        "size": _size(path, where, item),
        "item": number if isinstance(number, int) else 0,
        "turned": bool(item.get("image_rotation")),
    }
    if "rle" in value:
        if not isinstance(value["rle"], bytes):
            raise unreadable(path, f"{where}: a brush of something else than bytes", _EXPECTED)
        return Region(kind="brush", data=value["rle"], **common)
    if "imageDataURL" in value:
        return Region(kind="bitmask", url=str(value["imageDataURL"]), **common)
    if "points" in value:
        return _polygon(path, value["points"], common)
    if "vertices" in value:
        if not value.get("closed"):
            return OPEN_PATHS
        corners = _corners(path, where, value["vertices"])
        return CURVED if corners is None else _polygon(path, corners, common)
    if "radiusX" in value:
        keys = ("x", "y", "radiusX", "radiusY")
        return Region(kind="ellipse", values=_numbers(path, where, value, keys), **common)
    if "width" in value and "height" in value:
        keys = ("x", "y", "width", "height")
        return Region(kind="rectangle", values=_numbers(path, where, value, keys), **common)
    return NO_OUTLINE


def _polygon(path: Path, points: object, common: dict[str, Any]) -> Region | str:
    if not isinstance(points, list):
        raise unreadable(path, f"{points!r:.40} as points of a polygon", _EXPECTED)
    checked = Outlines(path)
    ring = checked.ring(points)
    if ring is None:
        return next(iter(checked.left_out))
    return Region(kind="polygon", values=ring, **common)


def _corners(path: Path, where: str, vertices: object) -> list[list[float]] | None:
    """Return the corners of a path, `None` if it has curves."""
    if not isinstance(vertices, list) or not all(isinstance(v, dict) for v in vertices):
        raise unreadable(path, f"{where}: a path without corners", _EXPECTED)
    if any(vertex.get("isBezier") for vertex in vertices):
        return None
    return [_numbers(path, where, vertex, ("x", "y"))[:2].tolist() for vertex in vertices]


def _numbers(
    path: Path, where: str, value: Mapping[str, Any], keys: tuple[str, ...]
) -> NDArray[np.float64]:
    """Return the numbers under these keys, and the rotation."""
    numbers = [*(value.get(key) for key in keys), value.get("rotation") or 0]
    sound = [isinstance(n, int | float) and math.isfinite(n) and abs(n) < 1e7 for n in numbers]
    if not all(sound):
        wrong = numbers[sound.index(False)]
        raise unreadable(path, f"{where}: {wrong!r:.40} as a position", "percent of the image")
    return np.array(numbers, np.float64)


def _size(path: Path, where: str, item: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = item.get("original_height"), item.get("original_width")
    if height is None or width is None:
        return None
    if not all(isinstance(side, int | float) and 1 <= side < 2**31 for side in (height, width)):
        raise unreadable(path, f"{where}: an image of {height!r:.20} x {width!r:.20}", "pixels")
    return int(height), int(width)
