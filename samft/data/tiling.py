"""Where the parts of a large image lie."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from samft.data.records import Window


def cut_window(planes: NDArray[Any], window: Window) -> NDArray[Any]:
    """Return a part of (..., H, W), without a copy."""
    top, left, height, width = window
    return planes[..., top : top + height, left : left + width]


def even_starts(length: int, side: int, *, overlap: int) -> tuple[int, ...]:
    """Return where parts begin along one axis: evenly spaced, from end to end.

    Args:
        length: Of the axis, pixels.
        side: Of a part; a shorter axis has one part, all of it.
        overlap: What two neighbours have in common, at least; less than `side`.
    """
    if length <= side:
        return (0,)
    count = -(-(length - overlap) // (side - overlap))
    return tuple(round(index * (length - side) / (count - 1)) for index in range(count))


def windows_of(size: tuple[int, int], side: int, *, overlap: int) -> list[Window]:
    """Return the parts of an image, row by row; together they cover it.

    Args:
        size: (height, width) of the image, pixels.
        side: Of a part; along a shorter axis it is the whole.
        overlap: See `even_starts`.
    """
    height, width = (min(side, length) for length in size)
    return [
        (top, left, height, width)
        for top in even_starts(size[0], side, overlap=overlap)
        for left in even_starts(size[1], side, overlap=overlap)
    ]
