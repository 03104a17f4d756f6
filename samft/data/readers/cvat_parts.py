"""The parts of CVAT's XML: what it says about its task, points, and masks as run lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.limits import check_declared_size, unreadable
from samft.data.readers.outlines import Outlines, check_count
from samft.data.readers.xml_files import number
from samft.data.shapes import Shape

EXPECTED = "CVAT's XML"


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """A mask as it is written: much smaller than its pixels.

    Args:
        class_name: What it is.
        group: Which other shapes belong to the same object.
        box: (left, top, width, height) in the image, pixels.
        runs: Lengths along the rows of the box, the first outside, the second inside, and so on.
    """

    class_name: str
    group: str | None
    box: tuple[int, int, int, int]
    runs: NDArray[np.int64]


class CvatMeta:
    """What the file says about its task or project.

    Args:
        path: The file, for messages.

    Attributes:
        labels: The labels with their types, in order, without the parts of skeletons.
        is_video: Whether the task is a video.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._label = self._type = ""
        self._is_part = False
        self._sides: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.is_video = False

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of a video's frames."""
        return stated_size(self._sides, self._path) if self._sides else None

    def end(self, parent: str, name: str, text: str) -> None:
        """Take notice of an element in `<meta>`.

        Args:
            parent: The element that it is in.
            name: Its name.
            text: Its text.
        """
        if parent == "label" and name == "name":
            self._label = text
        elif parent == "label" and name == "type":
            self._type = text
        elif parent == "label" and name == "parent":
            self._is_part = True  # of a skeleton
        elif name == "label":
            if self._label and not self._is_part:
                self.labels.setdefault(self._label, self._type)
            self._label, self._type, self._is_part = "", "", False
        elif parent == "original_size" and name in ("width", "height"):
            self._sides[name] = text
        elif name == "mode" and text == "interpolation":
            self.is_video = True


def read_runs(
    attributes: Mapping[str, str], size: tuple[int, int] | None, path: Path
) -> tuple[tuple[int, int, int, int], NDArray[np.int64]]:
    """Check a mask.

    Args:
        attributes: Its `left`, `top`, `width`, `height` and `rle`.
        size: (height, width) of its image, if known.
        path: The file, for messages.

    Returns:
        The box (left, top, width, height), and the run lengths that fill it.

    Raises:
        DatasetError: if it lies outside its image, or the run lengths do not fill it.
    """
    left, top, width, height = (
        int(number(attributes, name, path)) for name in ("left", "top", "width", "height")
    )
    fits = left >= 0 and top >= 0 and min(width, height) >= 1
    if size is not None:
        fits = fits and top + height <= size[0] and left + width <= size[1]
    if not fits:
        raise unreadable(
            path, f"a mask of {width} x {height} at ({left}, {top})", "masks inside their image"
        )
    check_declared_size(path, (height, width), 1)
    text = attributes.get("rle", "")
    try:
        runs = np.array(text.split(","), dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise unreadable(path, f"the run lengths {text[:40]!r}", EXPECTED) from error
    # None may be larger, so that their sum cannot run over.
    if bool(((runs < 0) | (runs > width * height)).any()) or int(runs.sum()) != width * height:
        raise unreadable(
            path,
            "run lengths that do not fill their mask",
            f"{width} x {height} = {width * height} pixels",
        )
    return (left, top, width, height), runs


def stated_size(attributes: Mapping[str, str], path: Path) -> tuple[int, int] | None:
    """Return the (height, width) that attributes state, if they do.

    Raises:
        DatasetError: if it is impossible.
    """
    if "width" not in attributes or "height" not in attributes:
        return None
    height, width = (int(number(attributes, side, path)) for side in ("height", "width"))
    if min(height, width) < 1:
        raise unreadable(path, f"an image of {width} x {height}", EXPECTED)
    return height, width


def polygon_points(attributes: Mapping[str, str], path: Path) -> NDArray[np.float64]:
    """Return the (N, 2) points of `x,y;x,y;...`.

    Raises:
        DatasetError: if they are none, or too many.
    """
    pairs = attributes.get("points", "").split(";")
    check_count(pairs, path)
    try:
        return np.array([pair.split(",") for pair in pairs if pair.strip()], dtype=np.float64)
    except ValueError as error:
        raise unreadable(path, f"the points {';'.join(pairs[:3])[:40]!r}", EXPECTED) from error


def bitmap_of(mask: Runs, found: Outlines) -> Shape:
    """Return a mask in pixels.

    Args:
        mask: Its run lengths.
        found: What else is in the image, for the limit on the memory of all masks together.

    Raises:
        DatasetError: if they would take more than allowed.
    """
    left, top, width, height = mask.box
    found.reserve_bitmap(height, width)
    inside = np.repeat(np.arange(mask.runs.size) % 2 == 1, mask.runs).reshape(height, width)
    return Shape(class_name=mask.class_name, bitmap=inside, bitmap_at=(left, top), group=mask.group)
