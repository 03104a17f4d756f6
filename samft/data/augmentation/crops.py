"""Cutting a window out of a sample."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from torch import Tensor

from samft.types import Sample


def cut(sample: Sample, top: int, left: int, size: tuple[int, int]) -> Sample:
    """Return a window of a sample; what lies beyond the image is left out.

    Args:
        sample: The sample; objects outside the window keep their row.
        top: First row.
        left: First column.
        size: (height, width) of the window.
    """
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    return sample.replace(
        image=sample.image[..., rows, columns].contiguous(),
        layers=sample.layers[..., rows, columns].contiguous(),
    )


def start_around(rng: Generator, span: tuple[int, int], *, window: int, length: int) -> int:
    """Draw where a window starts along one axis such that it holds a span.

    Every start is equally likely at which the whole span lies in the window; if the span is longer
    than the window, at which the window lies in the span.

    Args:
        rng: Source of the draw.
        span: First and last pixel of what is to be held.
        window: Length of the window; at most `length`.
        length: Length of the image.
    """
    ends = span[1] - window + 1, span[0]
    first, last = (int(np.clip(end, 0, length - window)) for end in sorted(ends))
    return int(rng.integers(first, last + 1))


def any_pixel(rng: Generator, mask: Tensor) -> tuple[int, int] | None:
    """Draw (row, column) of a pixel where `mask` ((H, W) bool) is true; `None` if none is."""
    found = mask.flatten().nonzero()[:, 0]
    if not len(found):
        return None
    row, column = divmod(int(found[int(rng.integers(len(found)))]), mask.shape[1])
    return row, column
