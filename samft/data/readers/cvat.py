"""CVAT's XML, version 1.1 and before, "for images" and "for video".

Coordinates are continuous, from the upper left corner of the image; angles are in degrees,
clockwise, about the middle of the box or ellipse; a mask's run lengths go along the rows of its box
and begin with what is outside. The higher `z_order` lies above.

Source: https://docs.cvat.ai/docs/other/xml_format; angles, masks and groups as CVAT's exporter
    writes them (cvat/apps/dataset_manager/formats/cvat.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from samft.data.readers.cvat_parts import (
    EXPECTED,
    CvatMeta,
    Runs,
    bitmap_of,
    polygon_points,
    read_runs,
    stated_size,
)
from samft.data.readers.limits import unreadable
from samft.data.readers.outlines import Outlines, ellipse, rectangle
from samft.data.readers.xml_files import number, read_xml
from samft.data.shapes import Shape
from samft.errors import DatasetError

_DRAWN: Final = ("polygon", "box", "ellipse", "mask")
_NO_AREA: Final = ("polyline", "points", "cuboid", "skeleton", "tag")
# What labels can be made for in CVAT that encloses nothing.
_TYPES_WITHOUT_AREA: Final = frozenset({*_NO_AREA, "point"})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CvatImage:
    """One image, or frame of a video.

    Args:
        name: Its name, a relative path; of a frame `frame_000000`.
        size: (height, width) in pixels, where the file states it.
        subset: The part of a project that it belongs to, such as `Train`.
        frame: The number of the frame; `None` of an image.
        drawn: Its shapes, the lowest first; see `shapes`.
    """

    name: str
    size: tuple[int, int] | None
    subset: str | None
    frame: int | None
    drawn: Sequence[Shape | Runs] = field(repr=False)

    def shapes(self, path: Path) -> tuple[Shape, ...]:
        """Return the shapes, the lowest first.

        Args:
            path: The label file, for messages.

        Raises:
            DatasetError: if the masks would take more memory than allowed.
        """
        found = Outlines(path)
        return tuple(
            item if isinstance(item, Shape) else bitmap_of(item, found) for item in self.drawn
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CvatFile:
    """What a file of CVAT holds.

    Args:
        labels: The labels that it declares for outlines, in their order, then those that are used
            without.
        images: The images, or the frames in which something is drawn.
        is_video: Whether it is "for video": frames without number are not listed.
        left_out: What is drawn but has no area, with its count.
    """

    labels: tuple[str, ...]
    images: tuple[CvatImage, ...]
    is_video: bool
    left_out: Mapping[str, int]


def is_cvat(tags: Sequence[str]) -> bool:
    """Tell by the elements that a file begins with whether it is of this kind."""
    return tags[:1] == ["annotations"] and not {"version", "meta", "image", "track"}.isdisjoint(
        tags
    )


def read_cvat(path: Path) -> CvatFile | None:
    """Read a file of CVAT; the last two stay in memory, so that image after image can be asked for.

    Returns:
        What it holds; `None` if it is XML of another kind.

    Raises:
        DatasetError: if it is damaged, or holds the videos of several tasks.
    """
    try:
        found = path.stat()
    except OSError:
        return _read(path, 0, 0)  # which says what is wrong
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2)
def _read(path: Path, changed: int, size: int) -> CvatFile | None:
    del changed, size
    found = _Annotations(path)
    read_xml(path, found.start, found.end, expected=EXPECTED)
    return found.file() if found.is_one else None


class _Annotations:
    """Gathers images and tracks while the file goes by."""

    def __init__(self, path: Path) -> None:
        self.is_one = False
        self._path = path
        self._within: list[str] = []
        self._meta = CvatMeta(path)
        self._outlines = Outlines(path)
        self._image: Mapping[str, str] = {}
        self._track: Mapping[str, str] = {}
        self._tasks: set[str] = set()
        self._used: dict[str, None] = {}
        self._drawn: list[tuple[int, Shape | Runs]] = []
        self._images: list[CvatImage] = []
        self._frames: dict[int, list[tuple[int, Shape | Runs]]] = {}

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if not self._within:
            self.is_one = name == "annotations"
        parent = self._within[-1] if self._within else ""
        self._within.append(name)
        if not self.is_one:
            return
        if name == "image" and parent == "annotations":
            self._image, self._drawn = attributes, []
        elif name == "track" and parent == "annotations":
            self._track = attributes
            self._tasks.add(attributes.get("task_id", ""))
        elif parent in ("image", "track") and "meta" not in self._within:
            self._draw(name, attributes, in_track=parent == "track")

    def end(self, name: str, text: str) -> None:
        self._within.pop()
        if not self.is_one:
            return
        if "meta" in self._within:
            self._meta.end(self._within[-1], name, text)
        elif name == "image" and self._within == ["annotations"]:
            self._images.append(
                CvatImage(
                    name=self._image.get("name", ""),
                    size=stated_size(self._image, self._path),
                    subset=self._image.get("subset"),
                    frame=None,
                    drawn=_by_height(self._drawn),
                )
            )

    def file(self) -> CvatFile:
        if len(self._tasks) > 1:
            raise DatasetError(
                "the file holds the videos of several tasks, whose frames have the same numbers",
                where=self._path,
                found=f"{len(self._tasks)} tasks",
                fix='export each task by itself, or the project as "CVAT for images"',
            )
        frames = [
            CvatImage(
                name=f"frame_{frame:06d}",
                size=self._meta.size,
                subset=None,
                frame=frame,
                drawn=_by_height(drawn),
            )
            for frame, drawn in sorted(self._frames.items())
        ]
        declared = [
            label
            for label, kind in self._meta.labels.items()
            if kind not in _TYPES_WITHOUT_AREA or label in self._used
        ]
        undeclared = sorted(label for label in self._used if label not in self._meta.labels)
        return CvatFile(
            labels=(*declared, *undeclared),
            images=(*self._images, *frames),
            is_video=bool(self._tasks) or (not self._images and self._meta.is_video),
            left_out=self._outlines.left_out,
        )

    def _draw(self, kind: str, attributes: Mapping[str, str], *, in_track: bool) -> None:
        if in_track and attributes.get("outside", "0") == "1":
            return  # it is not in this frame
        if kind in _NO_AREA:
            self._outlines.leave_out(f"{kind}, which has no area")
            return
        if kind not in _DRAWN:
            self._outlines.leave_out(f"<{kind[:20]}>, which is not known")
            return
        owner = self._track if in_track else attributes
        label = owner.get("label", "").strip()
        if not label:
            raise unreadable(self._path, f"a {kind} without label", EXPECTED)
        group = owner.get("group_id", "0").strip()
        part = None if group in ("", "0") else f"{label} {group}"
        shape = self._shape(kind, attributes, label, part)
        if shape is None:
            return
        self._used[label] = None
        height = int(number(attributes, "z_order", self._path)) if "z_order" in attributes else 0
        if in_track:
            frame = int(number(attributes, "frame", self._path))
            self._frames.setdefault(frame, []).append((height, shape))
        else:
            self._drawn.append((height, shape))

    def _shape(
        self, kind: str, attributes: Mapping[str, str], label: str, group: str | None
    ) -> Shape | Runs | None:
        if kind == "mask":
            return self._mask(attributes, label, group)
        if kind == "polygon":
            points = polygon_points(attributes, self._path)
        elif kind == "box":
            sides = self._numbers(attributes, "xtl", "ytl", "xbr", "ybr")
            points = rectangle(*sides, degrees=self._degrees(attributes))
        else:
            x, y, rx, ry = self._numbers(attributes, "cx", "cy", "rx", "ry")
            points = ellipse((x, y), (rx, ry), degrees=self._degrees(attributes))
        ring = self._outlines.ring(points)
        return None if ring is None else Shape(class_name=label, outer=(ring,), group=group)

    def _mask(self, attributes: Mapping[str, str], label: str, group: str | None) -> Runs:
        size = stated_size(self._image, self._path) if self._image else self._meta.size
        return Runs(label, group, *read_runs(attributes, size, self._path))

    def _numbers(self, attributes: Mapping[str, str], *names: str) -> Iterator[float]:
        return (number(attributes, name, self._path) for name in names)

    def _degrees(self, attributes: Mapping[str, str]) -> float:
        return number(attributes, "rotation", self._path) if "rotation" in attributes else 0.0


def _by_height(drawn: Sequence[tuple[int, Shape | Runs]]) -> tuple[Shape | Runs, ...]:
    return tuple(shape for _, shape in sorted(drawn, key=lambda pair: pair[0]))
