"""A part of a picture or of a label image, decoding as little of the file as its format allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.readers.image import read_image, read_label_map, whole_numbers
from samft.data.readers.part import cut_window
from samft.data.readers.tiff import TIFF_SUFFIXES, read_tiff_window
from samft.data.records import Window
from samft.errors import DatasetError


def read_image_window(path: Path, window: Window, *, every_channel: bool = False) -> NDArray[Any]:
    """Read a part of a picture as `read_image` reads the whole.

    Of a TIFF, only the tiles or strips that the window touches are decoded. The other formats are
    decoded as a whole: who wants many parts of one file keeps it.

    Args:
        path: The file.
        window: The part, in pixels of the upright picture.
        every_channel: See `read_image`.

    Returns:
        (H, W) grey or (H, W, C), in the file's own depth.

    Raises:
        DatasetError: if the file is unreadable, or the window does not lie inside.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return read_tiff_window(path, window, every_channel=every_channel)
    return cut_window(read_image(path), window, path)


def read_label_window(path: Path, window: Window) -> NDArray[np.int32]:
    """Read a part of a label image as `read_label_map` reads the whole: (H, W) int32.

    Args:
        path: The file.
        window: The part, in pixels of the upright image.

    Raises:
        DatasetError: as `read_label_map`, and if the window does not lie inside.
    """
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return cut_window(read_label_map(path), window, path)
    stored = read_tiff_window(path, window, keep_codes=True)
    if stored.ndim == 3 and bool((stored == stored[..., :1]).all()):
        stored = stored[..., 0]
    if stored.ndim == 3:
        raise DatasetError(
            "the mask has colours",
            where=path,
            found=f"{stored.shape[2]} channels that differ",
            expected="one number per pixel: 0 background, 1, 2, ...",
            fix="save it as a grey label image",
        )
    return np.asarray(whole_numbers(stored, path), np.int32)
