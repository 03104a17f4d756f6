"""Aperio ImageScope's XML, and HALO's, which is modelled on it.

`Annotation` is a layer, `Region` a shape in it; `Type` is 0 for a polygon, 1 for a rectangle (four
corners, or two opposite ones), 2 for an ellipse (two opposite corners of its box, or four), 3 for
an arrow, 4 for a ruler, 5 for a point; HALO writes words. Coordinates are continuous, from the
upper left corner of the image at full resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from samft.data.classes import UNNAMED
from samft.data.readers.limits import unreadable
from samft.data.readers.outlines import (
    LabelledImage,
    Outlines,
    check_count,
    ellipse,
    points_inside,
    rectangle,
)
from samft.data.readers.xml_files import number, read_xml
from samft.data.shapes import Shape

EXPECTED = "Aperio ImageScope's XML"

_POLYGON: Final = ("", "0", "Polygon", "Freehand", "Pen")
_RECTANGLE: Final = ("1", "Rectangle")
_ELLIPSE: Final = ("2", "Ellipse")
_OTHER: Final = {"3": "arrow", "4": "ruler", "5": "point"}
# Names under which ImageScope and its users keep a layer's class in the value, not in the name.
_VALUED: Final = frozenset({"description", "name", "label", "class", "type", "category", "text"})
_MOST_CUTS = 100_000


def is_aperio(tags: Sequence[str]) -> bool:
    """Tell by the elements that a file begins with whether it is of this kind."""
    return tags[:1] == ["Annotations"] and ("Annotation" in tags or len(tags) == 1)


def read_aperio(path: Path) -> LabelledImage | None:
    """Read a file of ImageScope or HALO.

    The class is the layer's name, or its attribute (`Description` and its value, or the attribute's
    own name where it has no value), or the region's text. Layers that have none of these are one
    class, `object`, as long as a file has only one of them; the second is `layer 2`.

    Returns:
        What it says; `None` if it is XML of another kind.

    Raises:
        DatasetError: if it is damaged.
    """
    found = _Annotations(path)
    read_xml(path, found.start, found.end, expected=EXPECTED)
    return found.outlines.labelled() if found.is_one else None


class _Annotations:
    """Gathers the regions while the file goes by, layer by layer."""

    def __init__(self, path: Path) -> None:
        self.outlines = Outlines(path)
        self.is_one = False
        self._path = path
        self._root: str | None = None
        self._layers = 0
        self._in_region = False
        self._open_layer({})
        self._open_region({})

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._root is None:
            self._root = name
            self.is_one = name == "Annotations"
        if not self.is_one:
            return
        if name == "Annotation":
            self._layers += 1
            self._open_layer(attributes)
        elif name == "Region":
            self._in_region = True
            self._open_region(attributes)
        elif name == "Attribute":
            self._note_attribute(attributes)
        elif name in ("Vertex", "V") and self._in_region:
            check_count(self._points, self._path)
            self._points.append(
                (number(attributes, "X", self._path), number(attributes, "Y", self._path))
            )

    def end(self, name: str, text: str) -> None:
        del text
        if not self.is_one:
            return
        if name == "Region":
            self._in_region = False
            self._add()
        elif name == "Annotation":
            self._close_layer()

    def _open_layer(self, attributes: Mapping[str, str]) -> None:
        self._layer_name = attributes.get("Name", "").strip()
        self._layer_attribute = ""
        self._shapes: list[Shape] = []
        self._own_names: list[str] = []
        self._cuts: list[NDArray[np.float64]] = []

    def _open_region(self, attributes: Mapping[str, str]) -> None:
        self._kind = attributes.get("Type", "").strip()
        self._is_hole = attributes.get("NegativeROA", "").strip().lower() in ("1", "true")
        self._text = attributes.get("Text", "").strip()
        self._points: list[tuple[float, float]] = []

    def _note_attribute(self, attributes: Mapping[str, str]) -> None:
        name, value = (attributes.get(key, "").strip() for key in ("Name", "Value"))
        meaning = value if name.lower() in _VALUED else name if not value else ""
        if self._in_region:
            self._text = self._text or meaning
        else:
            self._layer_attribute = self._layer_attribute or meaning

    def _add(self) -> None:
        points = self._outline()
        ring = None if points is None else self.outlines.ring(points)
        if ring is None:
            return
        if self._is_hole:
            self._cuts.append(ring)
        else:
            self._shapes.append(Shape(class_name="", outer=(ring,)))
            self._own_names.append(self._text)

    def _outline(self) -> NDArray[np.float64] | None:
        points = np.array(self._points, dtype=np.float64).reshape(-1, 2)
        if self._kind in _POLYGON or (self._kind in _ELLIPSE and len(points) > 4):
            return points
        if self._kind in (*_RECTANGLE, *_ELLIPSE) and len(points) < 2:
            return points  # nothing, which is counted as without area
        if self._kind in _RECTANGLE:
            return points if len(points) > 2 else rectangle(*points.reshape(-1)[:4].tolist())
        if self._kind in _ELLIPSE:
            low, high = points.min(axis=0), points.max(axis=0)
            (x, y), (rx, ry) = ((low + high) / 2).tolist(), ((high - low) / 2).tolist()
            return ellipse((x, y), (rx, ry))
        kind = _OTHER.get(self._kind, f"region of type {self._kind[:20]}")
        self.outlines.leave_out(f"{kind}, which has no area")
        return None

    def _close_layer(self) -> None:
        """Name the layer's shapes, and cut its negative regions out of all that they meet."""
        default = UNNAMED if self._layers == 1 else f"layer {self._layers}"
        layer_name = self._layer_name or self._layer_attribute
        shapes = [
            replace(shape, class_name=layer_name or own or default)
            for shape, own in zip(self._shapes, self._own_names, strict=True)
        ]
        self.outlines.shapes += _with_holes(shapes, self._cuts, self.outlines)
        self._open_layer({})


def _within(shape: Shape, cut: NDArray[np.float64]) -> bool:
    """Tell whether a region lies in a hole: an island, which the hole was not drawn to remove."""
    ring = shape.outer[0]
    boxed = (ring.min(axis=0) >= cut.min(axis=0)) & (ring.max(axis=0) <= cut.max(axis=0))
    some = ring[:: 1 + len(ring) // 32]
    return bool(boxed.all()) and bool(points_inside(some, cut).all())


def _with_holes(
    shapes: list[Shape], cuts: Sequence[NDArray[np.float64]], outlines: Outlines
) -> list[Shape]:
    if not cuts or not shapes:
        for _ in cuts:
            outlines.leave_out("negative region in nothing")
        return shapes
    low = np.array([shape.outer[0].min(axis=0) for shape in shapes])
    high = np.array([shape.outer[0].max(axis=0) for shape in shapes])
    holes: dict[int, list[NDArray[np.float64]]] = {}
    total = 0
    for cut in cuts:
        meets = ((low < cut.max(axis=0)) & (high > cut.min(axis=0))).all(axis=1)
        hit = [index for index in np.flatnonzero(meets).tolist() if not _within(shapes[index], cut)]
        total += len(hit)
        if total > _MOST_CUTS:
            raise unreadable(outlines.path, "negative regions over each other", EXPECTED)
        if not hit:
            outlines.leave_out("negative region in nothing")
        for index in hit:
            holes.setdefault(index, []).append(cut)
    return [
        replace(shape, holes=tuple(holes[index])) if index in holes else shape
        for index, shape in enumerate(shapes)
    ]
