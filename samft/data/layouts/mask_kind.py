"""What the values of masks mean where nobody said: classes, or one value for each object."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samft.data.labels import read_label_layers, values_in
from samft.data.readers.image import probe_image
from samft.data.readers.image_window import read_label_window
from samft.data.readers.tiff import is_large_tiff
from samft.data.readers.tiff_stack import is_stack
from samft.data.readers.volume import Segment
from samft.data.records import Window
from samft.data.tiling import cut_window

MaskKind = Literal["classes", "instances"]
"""Whether a value is a class, or one object."""

_LOOKED_AT = 8  # masks
_SIDE = 2048  # pixels of a mask that are looked at, along each side
_FEW = 20  # values; more are hardly ever classes
_SCATTERED = 2.0  # connected pieces for each value, on the average over masks

_log = logging.getLogger(__name__)


def guess_kind(masks: Sequence[Path]) -> MaskKind:
    """Look into some masks and tell what their values mean; the reason is logged.

    Values are taken for classes where they are few, the same ones come again in other masks, and
    each is scattered over several connected pieces. An object is mostly one piece.

    Args:
        masks: The mask files; some, spread over all, are read.

    Raises:
        DatasetError: if one of these is unreadable.
    """
    chosen = masks[:: max(1, -(-len(masks) // _LOOKED_AT))]
    values: set[int] = set()
    counted = pieces = 0
    for path in chosen:
        layers, segments = _looked_at(path)
        if segments:
            return "classes"
        if only_black_and_white(layers):
            continue
        for layer in layers:
            present = [value for value in values_in(layer) if value > 0]
            values.update(present)
            for plane in _planes(layer, path):
                one, its_pieces = _pieces(plane)
                counted += one
                pieces += its_pieces
    if not counted:
        return "instances"  # black and white, where every piece is an object anyway
    classes = len(values) <= _FEW and pieces >= _SCATTERED * counted
    kind: MaskKind = "classes" if classes else "instances"
    _log.info(
        "the values of the masks are taken for %s: %d different ones in %d masks looked at, each "
        "in %.1f connected pieces (data.objects says otherwise)",
        kind,
        len(values),
        len(chosen),
        pieces / counted,
    )
    return kind


def _looked_at(path: Path) -> tuple[NDArray[Any], tuple[Segment, ...]]:
    """Return the label layers of a mask, of a large one the middle of each."""
    if is_large_tiff(path) and not is_stack(path):
        return read_label_window(path, _middle(probe_image(path)))[None], ()
    layers, segments = read_label_layers(path)
    return cut_window(layers, _middle((layers.shape[-2], layers.shape[-1]))), segments


def _middle(size: tuple[int, int]) -> Window:
    height, width = (min(length, _SIDE) for length in size)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def only_black_and_white(layers: NDArray[Any]) -> bool:
    """Tell whether a mask holds nothing but 0 and 255: its pieces are the objects."""
    return bool(np.isin(layers, (0, 255)).all())


def _planes(layer: NDArray[Any], path: Path) -> Iterable[NDArray[Any]]:
    """Return what to look at as a whole: the planes of a stack, which may be frames, or all."""
    return layer if layer.ndim == 3 and is_stack(path) else (layer,)


def _pieces(layer: NDArray[Any]) -> tuple[int, int]:
    """Return how many values there are, and how many connected pieces of equal value.

    The first values of many count for all.
    """
    everywhere = np.ones((3,) * layer.ndim, dtype=bool)
    present = [value for value in values_in(layer) if value > 0][:_FEW]
    return len(present), sum(int(ndimage.label(layer == value, everywhere)[1]) for value in present)
