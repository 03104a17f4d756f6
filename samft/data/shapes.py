"""Objects that are outlined rather than painted: polygons, run lengths, small bitmaps."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samft.data.objects import ObjectMode, Objects
from samft.data.patches import LayerStack, Patch, cut_bitmap, joined, subtract
from samft.data.readers.limits import check_declared_size
from samft.data.records import Window
from samft.data.rings import patch_of_ring, ring_box
from samft.data.run_lengths import counts_of, patch_of_counts
from samft.errors import DatasetError

TOO_FEW_POINTS = "outlines of fewer than 3 points"
"""What is said of outlines that enclose nothing."""
OUTSIDE = "outlines wholly outside the image"
"""What is said of outlines that have no pixel because they lie elsewhere."""
_UNKNOWN_FILE = Path("(shapes)")
_ITEMSIZE = 4  # bytes of a label layer's pixel
_Box = tuple[float, float, float, float]  # top, left, bottom, right
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Shape:
    """One object, or a part of one, as a label file outlines it. Exactly one form is given.

    Pixel (0, 0) covers x and y from 0 to 1: coordinates are continuous, from the image's upper left
    corner, as in COCO.

    Args:
        class_name: What it is.
        outer: (N, 2) float64 `(x, y)` rings in pixels of the image; the object is their union.
        holes: Rings that are cut out of it.
        rle: Column-major run lengths of the whole image, compressed, as pycocotools takes them:
            `{"size": [height, width], "counts": bytes}`.
        bitmap: (h, w) bool, a part of the image.
        bitmap_at: (left, top) of the bitmap in the image, pixels.
        unknown: Whether nothing is known of what lies inside (a crowd, a region not annotated).
        group: Shapes with the same group are parts of one object; `None` is an object by itself.
    """

    class_name: str
    outer: tuple[NDArray[np.float64], ...] = ()
    holes: tuple[NDArray[np.float64], ...] = ()
    rle: Mapping[str, object] | None = None
    bitmap: NDArray[np.bool_] | None = None
    bitmap_at: tuple[int, int] = (0, 0)
    unknown: bool = False
    group: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A shape without fault, and the rectangle that it lies in."""

    shape: Shape
    box: _Box


class ShapeTruth:
    """The objects of one flat image as its label file outlines them; see `Truth`.

    Pixels are those of pycocotools: a polygon's by `frPyObjects` and `decode`, holes subtracted.
    Outlines may reach beyond the image. Those of fewer than three points or wholly outside enclose
    nothing: they are left out, counted in `dropped` and logged once per file.

    Args:
        shapes: The objects and parts of objects. Of shapes that are `unknown` the class does not
            matter; of the others, those whose class is not in `class_index` are left out.
        size: (height, width) of the image.
        class_index: Class index of each class name that counts.
        where: The label file, for messages.

    Raises:
        DatasetError: if a coordinate is not finite, or run lengths are of another size.
    """

    def __init__(
        self,
        shapes: Iterable[Shape],
        size: tuple[int, int],
        class_index: Mapping[str, int],
        *,
        where: Path | None = None,
    ) -> None:
        self.where = where or _UNKNOWN_FILE
        check_declared_size(self.where, size, 0)  # windows of it may be small enough
        self._size = (int(size[0]), int(size[1]))
        self.dropped: Counter[str] = Counter()
        self._objects: dict[tuple[int, str], list[_Placed]] = {}
        self._unknown: list[_Placed] = []
        for number, shape in enumerate(shapes):
            self._take(number, shape, class_index)
        for kind, count in self.dropped.items():
            _say_once(f"{self.where.name}: {kind}, left out: {count}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self._size

    @property
    def nbytes(self) -> int:
        """Size in memory, bytes."""
        held = [part for parts in self._objects.values() for part in parts]
        return sum(_nbytes(part.shape) for part in (*held, *self._unknown))

    def objects(
        self,
        mode: ObjectMode,
        *,
        at: tuple[int, int] | None = None,
        window: Window | None = None,
    ) -> Objects:
        """Return the objects that have a pixel in a window, those that overlap in other layers.

        Args:
            mode: `class` joins all shapes of a class; otherwise each shape or group is an object.
            at: Not for flat images.
            window: The part that is wanted.

        Raises:
            DatasetError: if run lengths are damaged, or the window or the layers of objects that
                overlap would take more memory than allowed.
        """
        assert at is None  # outlines belong to flat images
        window = window or (0, 0, *self._size)
        check_declared_size(self.where, window[2:], _ITEMSIZE)
        layers = LayerStack(window[2:], self.where)
        classes: list[int] = []
        object_layer: list[int] = []
        for class_number, parts in self._members(mode):
            patch = self._union(parts, window)
            if patch is not None:
                classes.append(class_number)
                object_layer.append(layers.place(patch, len(classes)))
        for part in self._unknown:
            patch = self._patch(part, window)
            if patch is not None:
                layers.forget(patch)
        return Objects(
            layers=layers.stacked(),
            object_layer=np.array(object_layer, np.int64),
            object_class=np.array(classes, np.int64),
        )

    def _take(self, number: int, shape: Shape, class_index: Mapping[str, int]) -> None:
        if not shape.unknown and shape.class_name not in class_index:
            return
        sound = self._sound(shape)
        if sound is None:
            return
        if shape.unknown:
            self._unknown.append(sound)
            return
        # Names and numbers of groups never meet: one has a letter in front, the other none.
        key = str(number) if shape.group is None else f"group {shape.group}"
        index = class_index[shape.class_name]
        self._objects.setdefault((index, key), []).append(sound)

    def _sound(self, shape: Shape) -> _Placed | None:
        """Check a shape, drop rings that enclose nothing, and note where it lies."""
        if shape.rle is not None:
            self._check_rle(shape.rle)
            return _Placed(shape, (0.0, 0.0, *self._size))
        if shape.bitmap is not None:
            left, top = shape.bitmap_at
            height, width = shape.bitmap.shape
            return self._placed(shape, (top, left, top + height, left + width))
        outer = self._sound_rings(shape.outer)
        if not outer:
            return None
        boxes = np.array([ring_box(ring) for ring in outer])
        # A new object: the label file's own may be shared.
        kept = Shape(
            class_name=shape.class_name,
            outer=outer,
            holes=self._sound_rings(shape.holes),
            unknown=shape.unknown,
            group=shape.group,
        )
        return self._placed(kept, (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)))

    def _sound_rings(self, rings: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
        kept = []
        for ring in rings:
            if len(ring) < 3:
                self.dropped[TOO_FEW_POINTS] += 1
                continue
            if not bool(np.isfinite(ring).all()):
                raise DatasetError(
                    "the outline of an object has a corner that is no number",
                    where=self.where,
                    found="nan or infinity",
                    expected="x and y in pixels",
                    fix="export the annotations again, or take the object out of the file",
                )
            kept.append(np.asarray(ring, np.float64))
        return tuple(kept)

    def _placed(self, shape: Shape, box: _Box) -> _Placed | None:
        if box[0] >= self._size[0] or box[1] >= self._size[1] or box[2] <= 0 or box[3] <= 0:
            self.dropped[OUTSIDE] += 1
            return None
        return _Placed(shape, box)

    def _check_rle(self, rle: Mapping[str, object]) -> None:
        size = rle.get("size")
        if not isinstance(size, list | tuple) or tuple(size) != self._size:
            raise DatasetError(
                "run lengths of a mask are not of the image's size",
                where=self.where,
                found=size,
                expected=f"{list(self._size)} (height, width)",
                fix="export masks and images at the same size",
            )

    def _members(self, mode: ObjectMode) -> list[tuple[int, list[_Placed]]]:
        if mode != "class":
            return [(index, parts) for (index, _), parts in self._objects.items()]
        by_class: dict[int, list[_Placed]] = {}
        for (index, _), parts in self._objects.items():
            by_class.setdefault(index, []).extend(parts)
        return sorted(by_class.items())

    def _union(self, parts: Sequence[_Placed], window: Window) -> Patch | None:
        """Return the pixels of several shapes together, `None` if they have none in the window."""
        patches = [patch for part in parts if (patch := self._patch(part, window)) is not None]
        return joined(patches)

    def _patch(self, part: _Placed, window: Window) -> Patch | None:
        shape, box = part.shape, part.box
        if shape.rle is not None:
            return self._from_runs(shape.rle, window)
        top, left, height, width = window
        if box[0] > top + height or box[1] > left + width or box[2] < top or box[3] < left:
            return None
        if shape.bitmap is not None:
            return cut_bitmap(shape.bitmap, shape.bitmap_at, self._size, window)
        drawn = [patch_of_ring(ring, self._size, window, self.where) for ring in shape.outer]
        patch = joined([found for found in drawn if found is not None])
        if patch is None:
            return None
        for ring in shape.holes:
            hole = patch_of_ring(ring, self._size, window, self.where)
            if hole is not None:
                subtract(patch, hole)
        return patch if not shape.holes or patch.mask.any() else None

    def _from_runs(self, rle: Mapping[str, object], window: Window) -> Patch | None:
        try:
            return patch_of_counts(counts_of(rle.get("counts"), self._size), self._size, window)
        except ValueError as error:
            raise DatasetError(
                "the run lengths of a mask are damaged",
                where=self.where,
                found=error,
                expected="COCO run lengths that fill the image",
                fix="export the annotations again",
            ) from error


def _nbytes(shape: Shape) -> int:
    held = sum(ring.nbytes for ring in (*shape.outer, *shape.holes))
    if shape.bitmap is not None:
        held += shape.bitmap.nbytes
    if shape.rle is not None:
        counts = shape.rle.get("counts")
        held += len(counts) if isinstance(counts, bytes | str | list | tuple) else 0
    return held


@lru_cache(maxsize=1024)
def _say_once(text: str) -> None:
    _log.warning(text)
