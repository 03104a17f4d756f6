"""Small masks with a place in an image, and the label layers they are laid into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.limits import check_declared_size
from samft.data.records import Window
from samft.types import IGNORE

_LAYER_BYTES = 4  # of a pixel
_FIRST = 8  # layers


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A mask that is background outside a rectangle.

    Args:
        top: First row of the rectangle in the image.
        left: First column.
        mask: (h, w) bool, the mask inside the rectangle.
    """

    top: int
    left: int
    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[slice, slice]:
        """Where it lies in the image."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


class LayerStack:
    """Label layers of an image or a window, more of them where objects overlap.

    Args:
        size: (height, width).
        where: The label file, for messages.
    """

    def __init__(self, size: tuple[int, int], where: Path) -> None:
        self._where = where
        # Layers that are not written to yet cost nothing: the system gives memory when touched.
        self._room = np.zeros((_FIRST, *size), np.int32)
        self._count = 1

    def place(self, patch: Patch, value: int) -> int:
        """Write a value into the first layer that is free there, and return its number.

        Raises:
            DatasetError: if so many objects overlap that their layers would take more memory than
                allowed.
        """
        box, mask = patch.box, patch.mask
        free = (i for i, layer in enumerate(self._layers) if not np.any(layer[box], where=mask))
        chosen = next(free, self._count)
        if chosen == self._count:
            self._add()
        np.copyto(self._room[chosen][box], value, where=mask)
        return chosen

    def forget(self, patch: Patch) -> None:
        """Note that nothing is known there, where no object lies."""
        free = patch.mask.copy()
        for layer in self._layers:
            free &= layer[patch.box] <= 0
        for layer in self._layers:
            np.copyto(layer[patch.box], IGNORE, where=free)

    def stacked(self) -> NDArray[np.int32]:
        """Return (L, H, W)."""
        return self._layers

    @property
    def _layers(self) -> NDArray[np.int32]:
        return self._room[: self._count]

    def _add(self) -> None:
        check_declared_size(self._where, (self._count + 1, *self._room.shape[1:]), _LAYER_BYTES)
        if self._count == len(self._room):
            larger = np.zeros((2 * self._count, *self._room.shape[1:]), np.int32)
            larger[: self._count] = self._room
            self._room = larger
        self._count += 1


def joined(patches: Sequence[Patch]) -> Patch | None:
    """Return the union of several patches, `None` of none."""
    if len(patches) < 2:
        return patches[0] if patches else None
    top, left = min(p.top for p in patches), min(p.left for p in patches)
    bottom = max(p.top + p.mask.shape[0] for p in patches)
    right = max(p.left + p.mask.shape[1] for p in patches)
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for patch in patches:
        mask[Patch(patch.top - top, patch.left - left, patch.mask).box] |= patch.mask
    return Patch(top, left, mask)


def subtract(patch: Patch, hole: Patch) -> None:
    """Take the pixels of one patch out of another, in place."""
    rows, columns = hole.box
    rows = slice(max(0, rows.start - patch.top), max(0, rows.stop - patch.top))
    columns = slice(max(0, columns.start - patch.left), max(0, columns.stop - patch.left))
    part = patch.mask[rows, columns]
    top, left = max(0, patch.top - hole.top), max(0, patch.left - hole.left)
    part &= ~hole.mask[top : top + part.shape[0], left : left + part.shape[1]]


def cut_bitmap(
    bitmap: NDArray[np.bool_], at: tuple[int, int], size: tuple[int, int], window: Window
) -> Patch | None:
    """Return what lies of a bitmap in a window.

    Args:
        bitmap: (h, w) bool.
        at: (left, top) of the bitmap in the image.
        size: (height, width) of the image.
        window: The part that is wanted.

    Returns:
        The patch in the window's own coordinates, `None` if nothing lies there.
    """
    top, left = max(window[0], at[1], 0), max(window[1], at[0], 0)
    bottom = min(window[0] + window[2], at[1] + bitmap.shape[0], size[0])
    right = min(window[1] + window[3], at[0] + bitmap.shape[1], size[1])
    if bottom <= top or right <= left:
        return None
    mask = np.asarray(bitmap, np.bool_)[top - at[1] : bottom - at[1], left - at[0] : right - at[0]]
    return Patch(top - window[0], left - window[1], mask) if mask.any() else None
