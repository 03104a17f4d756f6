"""iPhotoDraw's XML: shapes drawn over a picture.

Vertices are at the centres of pixels, the first one (0, 0), as in GDI+, with which iPhotoDraw
draws: moved about in steps of a quarter pixel, the outlines of the 509 nuclei of GBM40 lie best on
the edges in the pictures so, in all four pictures, and worse half a pixel up and left of there.

A SmoothPolygon is joined by straight lines like a Polygon. iPhotoDraw shows it as a curve through
the vertices, but in that set these are 3.5 pixels apart, and a Catmull-Rom curve through them is
0.06 pixels away from the straight lines in the median, 0.3 in 95 of 100 places, and more only at
corners and at the border of the image, where it overshoots. The straight lines lie a little better
on the edges, and the set's own program reads them so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from samft.data.classes import UNNAMED
from samft.data.readers.outlines import (
    LabelledImage,
    Outlines,
    check_count,
    ellipse,
    rectangle,
    turned,
)
from samft.data.readers.xml_files import number, read_xml
from samft.errors import DatasetError

EXPECTED = "iPhotoDraw's XML"

_POLYGONS: Final = ("Polygon", "SmoothPolygon")
_BOXES: Final = ("Rectangle", "RoundedRectangle", "Ellipse")
_DEFAULT_LAYER = re.compile(r"Layer ?\d*")


def is_iphotodraw(tags: Sequence[str]) -> bool:
    """Tell by the elements that a file begins with whether it is of this kind."""
    return tags[:1] == ["Document"] and not {"ImageOptions", "Layers"}.isdisjoint(tags)


def read_iphotodraw(path: Path) -> LabelledImage | None:
    """Read a file of iPhotoDraw.

    The class is the text in the shape, or else the layer's name, unless it is a default one.

    Returns:
        What it says; `None` if it is XML of another kind.

    Raises:
        DatasetError: if it is damaged.
    """
    found = _Document(path)
    read_xml(path, found.start, found.end, expected=EXPECTED)
    return found.outlines.labelled() if found.is_one else None


class _Document:
    """Gathers the shapes while the file goes by."""

    def __init__(self, path: Path) -> None:
        self.outlines = Outlines(path, shift=0.5)
        self.is_one = False
        self._path = path
        self._root: str | None = None
        self._layer = UNNAMED
        self._kind: str | None = None
        self._text = ""
        self._degrees = 0.0
        self._points: list[tuple[float, float]] = []
        self._extent: tuple[float, float, float, float] | None = None
        self._in_data = False

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self._root is None:
            self._root = name
        if name == "Layers" and self._root == "Document":
            self.is_one = True
        elif not self.is_one and name in ("ImageOptions", "Flip"):
            self._refuse_turned(name, attributes)
        elif name == "Layer":
            named = attributes.get("Name", "").strip()
            self._layer = UNNAMED if _DEFAULT_LAYER.fullmatch(named) or not named else named
        elif name == "Shape" and self.is_one:
            self._kind, self._text, self._points = attributes.get("Type", ""), "", []
            self._extent, self._degrees = None, 0.0
        elif self._kind is not None:
            self._start_in_shape(name, attributes)

    def end(self, name: str, text: str) -> None:
        if self._kind is None:
            return
        if name == "Text":
            self._text = text
        elif name == "Data":
            self._in_data = False
        elif name == "Shape":
            self._add(self._kind)
            self._kind = None

    def _start_in_shape(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Data":
            self._in_data = True
            if attributes.get("Rotation"):
                self._degrees = number(attributes, "Rotation", self._path)
        elif name == "Point" and self._in_data:
            check_count(self._points, self._path)
            self._points.append(
                (number(attributes, "X", self._path), number(attributes, "Y", self._path))
            )
        elif name == "Extent" and self._in_data:
            x, y, width, height = (
                number(attributes, key, self._path) for key in ("X", "Y", "Width", "Height")
            )
            self._extent = (x, y, x + width, y + height)

    def _add(self, kind: str) -> None:
        name = self._text or self._layer
        if kind in _POLYGONS and self._points:
            points = turned(np.array(self._points), self._degrees)
            self.outlines.add_polygon(name, points)
        elif kind in _BOXES and self._extent is not None:
            left, top, right, bottom = self._extent
            if kind == "Ellipse":
                centre = ((left + right) / 2, (top + bottom) / 2)
                radii = ((right - left) / 2, (bottom - top) / 2)
                self.outlines.add_polygon(name, ellipse(centre, radii, degrees=self._degrees))
            else:
                box = rectangle(left, top, right, bottom, degrees=self._degrees)
                self.outlines.add_polygon(name, box)
        else:
            self.outlines.leave_out(f"{kind or 'shape'}, which has no area")

    def _refuse_turned(self, name: str, attributes: Mapping[str, str]) -> None:
        """Refuse shapes that were drawn over another view of the picture than its file gives."""
        keys = ("Rotation",) if name == "ImageOptions" else ("HorizontalFlip", "VerticalFlip")
        for key in keys:
            if attributes.get(key, "0") not in ("0", "False", ""):
                raise DatasetError(
                    "the shapes were drawn over a picture that was turned or flipped",
                    where=self._path,
                    found=f"{name} {key}={attributes[key][:20]!r}",
                    expected="the picture as it is in its file",
                    fix="turn the picture back in iPhotoDraw and save again",
                )
