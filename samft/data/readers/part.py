"""Parts of images: whether they lie inside, and how they are cut out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from samft.data.records import Window
from samft.errors import DatasetError


def check_window(path: Path, window: Window, size: tuple[int, int]) -> None:
    """Refuse a part that does not lie inside its image.

    Args:
        path: The image, for the message.
        window: The part, pixels.
        size: (height, width) of the image.

    Raises:
        DatasetError: if it is empty or reaches out of the image.
    """
    top, left, height, width = window
    lower, right = top + height, left + width
    inside = min(top, left) >= 0 and lower <= size[0] and right <= size[1]
    if not inside or min(height, width) < 1:
        raise DatasetError(
            "the part lies outside the image",
            where=path,
            found=f"rows {top} to {lower}, columns {left} to {right}",
            expected=f"inside {size[0]} x {size[1]} (height x width)",
        )


def cut_window(pixels: NDArray[Any], window: Window, path: Path) -> NDArray[Any]:
    """Return a part of an array whose first axes are rows and columns.

    Args:
        pixels: (H, W) or (H, W, C).
        window: The part.
        path: Where the pixels come from, for the message.

    Raises:
        DatasetError: if the part does not lie inside.
    """
    check_window(path, window, (pixels.shape[0], pixels.shape[1]))
    top, left, height, width = window
    return pixels[top : top + height, left : left + width]
