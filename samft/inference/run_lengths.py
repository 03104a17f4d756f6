"""Masks as run lengths: small enough to keep every one, cheap enough to make for each candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samft.inference.predictions import Rle


class UncompressedRle(TypedDict):
    """COCO run-length encoding before compression: column-major, background first."""

    size: list[int]
    counts: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class RunLengths:
    """One mask of one image.

    Args:
        size: (height, width) of the image.
        counts: (n,) int64 lengths of the runs in column-major order, background and object in
            turn; the first is background and may be 0.
    """

    size: tuple[int, int]
    counts: NDArray[np.int64]

    @classmethod
    def encode(
        cls,
        window: NDArray[np.bool_],
        *,
        origin: tuple[int, int] = (0, 0),
        size: tuple[int, int] | None = None,
    ) -> RunLengths:
        """Encode a mask that is background outside a window.

        Args:
            window: (h, w) bool, the mask inside the window.
            origin: (x, y) of the window in the image.
            size: (height, width) of the image; `None` for that of the window.
        """
        height, width = size or (window.shape[0], window.shape[1])
        rows = window.shape[0]
        # With background above and below, every column's edges come in pairs: in, out.
        columns = np.zeros((window.shape[1], rows + 2), np.bool_)
        columns[:, 1:-1] = window.T
        edges = np.flatnonzero(columns[:, 1:] != columns[:, :-1])
        column, row = np.divmod(edges, rows + 1)
        edges = (origin[0] + column) * height + origin[1] + row
        # A run that ends where the next begins goes on in the next column.
        joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])
        edges = np.delete(edges, np.concatenate([2 * joined + 1, 2 * joined + 2]))
        counts = np.diff(edges, prepend=0, append=height * width)
        return cls((height, width), counts[:-1] if counts[-1] == 0 else counts)

    def decode(self) -> NDArray[np.bool_]:
        """Return the mask, (H, W) bool."""
        is_object = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(is_object, self.counts).reshape(self.size[::-1]).T

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.counts[1::2].sum())

    def uncompressed(self) -> UncompressedRle:
        """Return COCO's uncompressed form."""
        return UncompressedRle(size=list(self.size), counts=self.counts.tolist())

    def coco(self) -> Rle:
        """Return COCO's compressed form with text counts."""
        return compress(self.uncompressed())


def compress(rle: UncompressedRle) -> Rle:
    """Compress uncompressed run lengths to COCO's form with text counts."""
    height, width = rle["size"]
    packed = coco_mask.frPyObjects(dict(rle), height, width)
    return Rle(size=[height, width], counts=packed["counts"].decode())
