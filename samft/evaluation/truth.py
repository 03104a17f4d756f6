"""The true objects of one image, held so that comparing a mask costs its box, not the image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.evaluation.rows import Unit
from samft.metrics.surfaces import Mask, bounding_box
from samft.types import IGNORE, Sample

Window = tuple[slice, slice]
_NOWHERE: Window = (slice(0, 0), slice(0, 0))


class TruthOfImage:
    """The objects of a sample, by their rows from 0.

    Args:
        sample: In the original frame.
        class_names: The classes of its data set, may be none.
    """

    def __init__(self, sample: Sample, class_names: Sequence[str]) -> None:
        self.sample = sample
        self._layers: NDArray[np.int32] = sample.layers.numpy()
        self._layer_of = sample.object_layer.tolist()
        self._windows = self._found_windows()
        self.classes = [
            class_names[index] if 0 <= index < len(class_names) else ""
            for index in sample.object_class.tolist()
        ]

    @property
    def unit(self) -> Unit:
        """Of distances: mm where the sample states its pixel size."""
        return "px" if self.sample.spacing_mm is None else "mm"

    @property
    def spacing(self) -> tuple[float, float]:
        """Pixel size (y, x) in `unit`."""
        return self.sample.spacing_mm or (1.0, 1.0)

    @property
    def diagonal_px(self) -> float:
        """Of the image."""
        return math.hypot(*self.sample.size)

    def area(self, row: int) -> int:
        """Return the true pixels of an object."""
        return int(np.count_nonzero(self._object(row, self._windows[row])))

    def against(self, row: int, answer: Mask) -> tuple[Mask, Mask]:
        """Cut out what there is to compare about an object.

        Args:
            row: Which object.
            answer: (H, W) bool.

        Returns:
            The answer without the pixels of which nothing is known, and the truth, both within the
            smallest window that holds both masks.
        """
        window = joined([self._windows[row], _box(answer)])
        layer = self._layers[self._layer_of[row]][window]
        return answer[window] & (layer != IGNORE), layer == row + 1

    def union_against(self, rows: Sequence[int], answer: Mask) -> tuple[Mask, Mask]:
        """Cut out what there is to compare about several objects together, see `against`.

        Nothing is known of a pixel that one of their layers knows nothing of, unless it belongs to
        one of them.

        Args:
            rows: Which objects; without any, all layers say of what nothing is known.
            answer: (H, W) bool, the union of the answers about them.
        """
        window = joined([*(self._windows[row] for row in rows), _box(answer)])
        shape = answer[window].shape
        truth, unknown = (np.zeros(shape, dtype=np.bool_) for _ in range(2))
        layers = {self._layer_of[row] for row in rows} or range(len(self._layers))
        for index in layers:
            layer = self._layers[index][window]
            values = [row + 1 for row in rows if self._layer_of[row] == index]
            truth |= np.isin(layer, values)
            unknown |= layer == IGNORE
        return answer[window] & (truth | ~unknown), truth

    def _object(self, row: int, window: Window) -> Mask:
        found: Mask = self._layers[self._layer_of[row]][window] == row + 1
        return found

    def _found_windows(self) -> list[Window]:
        found: list[Window] = [_NOWHERE] * self.sample.num_objects
        for index, layer in enumerate(self._layers):
            boxes = ndimage.find_objects(layer, max_label=len(found)) if found else []
            for row, box in enumerate(boxes):
                if box is not None and self._layer_of[row] == index:
                    found[row] = (box[0], box[1])
        return found


def joined(windows: Iterable[Window]) -> Window:
    """Return the smallest window that holds several, of which empty ones do not count."""
    filled = [each for each in windows if each[0].stop > each[0].start]
    if not filled:
        return _NOWHERE
    return (
        slice(min(y.start for y, _ in filled), max(y.stop for y, _ in filled)),
        slice(min(x.start for _, x in filled), max(x.stop for _, x in filled)),
    )


def _box(mask: Mask) -> Window:
    rows, columns = bounding_box(mask)
    return rows, columns
