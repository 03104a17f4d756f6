"""Pictures that a camera wrote on their side or mirrored, made upright.

Source:
    TIFF 6.0 and Exif 2.3, tag 274 (Orientation): which side of the scene the first row and the
    first column of the stored pixels are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.records import Window

# For each orientation: whether rows and columns swap first, then what is reversed.
_TURNS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


def turns_sides(orientation: int) -> bool:
    """Tell whether height and width change places."""
    return _TURNS[orientation][0]


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return stored pixels, (H, W) or (H, W, C), upright.

    Args:
        pixels: As stored.
        orientation: 1 to 8; 1 is upright.
    """
    swap, rows, columns = _TURNS[orientation]
    if orientation == 1:
        return pixels
    upright = pixels.swapaxes(0, 1) if swap else pixels
    return np.ascontiguousarray(upright[_step(rows), _step(columns)])


def turned_window(window: Window, stored_size: tuple[int, int], orientation: int) -> Window:
    """Return where a part of the upright picture lies in the stored one.

    Args:
        window: In pixels of the upright picture.
        stored_size: (height, width) of the stored one.
        orientation: 1 to 8.
    """
    swap, rows, columns = _TURNS[orientation]
    top, left, height, width = window
    total = stored_size[::-1] if swap else stored_size
    top = total[0] - top - height if rows else top
    left = total[1] - left - width if columns else left
    return (left, top, width, height) if swap else (top, left, height, width)


def _step(reverse: bool) -> slice:
    return slice(None, None, -1 if reverse else None)
