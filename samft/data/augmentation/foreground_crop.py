"""Windows around objects, so that small ones come at a size that can be learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.random import Generator

from samft.data.augmentation.crops import any_pixel, cut, start_around
from samft.types import Sample

_TRIES: Final = 8  # objects; those cut away by an earlier transform have no pixel to find
_ZOOM: Final = 4  # beyond it there is no more detail, only blur


class ForegroundCrop:
    """Cuts a square window around an object, or anywhere.

    SAM's mask decoder answers on a grid four times as coarse as its input: of an object of ten
    pixels in an image of 4000 it would see a single cell at an input of 1024, and nothing that
    could be learned. A window around it shows it larger, and fills the step with less background.
    The object is drawn by class first, all classes equally likely, then among those of its class,
    so that rare classes and crowded images count as they should. All of it lies in the window where
    it fits; where in the window is random. Whatever the window holds of other objects is theirs.

    Some windows lie anywhere and are from half the image to all of it: a model that never saw
    images as they come would fail on them.

    Args:
        side: Side of the model's input, pixels: no window is smaller than a quarter of it, unless
            `by` is side.
        by: Whether the size of a window follows its object, or is always `window`.
        factor: Side of the window relative to the longer side of the object's box; half to twice
            of it is drawn, log-uniformly. With `by` object.
        window: Side of the window, pixels of the image. With `by` side.
        share: Share of the windows that are around an object.
    """

    def __init__(
        self,
        side: int,
        *,
        by: Literal["object", "side"] = "object",
        factor: float = 4.0,
        window: int = 512,
        share: float = 0.75,
    ) -> None:
        self.side = side
        self.by = by
        self.factor = factor
        self.window = window
        self.share = share

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return a window of the sample, at the scale it has, within the image."""
        rng = np.random.default_rng(seed)
        spans = self._object(rng, sample) if rng.random() < self.share else None
        length = self._length(rng, sample, spans)
        size = min(length, sample.size[0]), min(length, sample.size[1])
        top, left = (
            _anywhere(rng, window, whole)
            if span is None
            else start_around(rng, span, window=window, length=whole)
            for span, window, whole in zip(spans or (None, None), size, sample.size, strict=True)
        )
        return cut(sample, top, left, size)

    def _length(
        self, rng: Generator, sample: Sample, spans: tuple[tuple[int, int], ...] | None
    ) -> int:
        if self.by == "side":
            return self.window
        least, most = max(1, self.side // _ZOOM), max(sample.size)
        if spans is None:
            drawn = most * 2 ** rng.uniform(-1, 0)
        else:
            longer = max(last - first + 1 for first, last in spans)
            drawn = longer * self.factor * 2 ** rng.uniform(-1, 1)
        return max(least, round(float(drawn)))

    def _object(
        self, rng: Generator, sample: Sample
    ) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Return first and last row, first and last column of an object that has pixels.

        Of one that does not fit into the window by `side`, those of one of its pixels.
        """
        for row in _by_class(rng, sample):
            mask = sample.layers[sample.object_layer[row]] == row + 1
            rows, columns = (mask.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
            if not len(rows):
                continue
            spans = (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))
            if self.by == "side" and max(b - a for a, b in spans) >= self.window:
                pixel = any_pixel(rng, mask)
                assert pixel is not None  # it has rows
                return (pixel[0], pixel[0]), (pixel[1], pixel[1])
            return spans
        return None


def _by_class(rng: Generator, sample: Sample) -> Iterator[int]:
    """Draw objects: a class first, then an object of it."""
    classes = sample.object_class.numpy()
    if not classes.size:
        return
    present = np.unique(classes)
    for _ in range(_TRIES):
        members = np.flatnonzero(classes == rng.choice(present))
        yield int(rng.choice(members))


def _anywhere(rng: Generator, window: int, length: int) -> int:
    return int(rng.integers(length - window + 1))
