"""COCO's run lengths: read without trust, written, and put into pixels inside a window only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from samft.data.patches import Patch
from samft.data.records import Window

_FIRST_DIGIT = 48  # the character that stands for 0
_MORE, _SIGN, _BITS = 0x20, 0x10, 5
_LONGEST_DIGITS = 8  # of five bits: more than any image has pixels
_EDGES = 2
_MOST_PIXELS = 2**32 - 1  # what pycocotools counts with


def counts_of(counts: object, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return run lengths as numbers, checked to fill an image exactly.

    Args:
        counts: Text or bytes (compressed), or a list of whole numbers.
        size: (height, width) of the image.

    Returns:
        (n,) int64 in column-major order, background and object in turn, background first.

    Raises:
        ValueError: if they are no run lengths, or of an image of another size.
    """
    pixels = size[0] * size[1]
    if isinstance(counts, str):
        counts = counts.encode("ascii", errors="replace")
    numbers = _digits(counts) if isinstance(counts, bytes) else _listed(counts)
    if numbers.size and (int(numbers.min()) < 0 or int(numbers.max()) > pixels):
        raise ValueError(f"a run of {int(numbers.min())} or {int(numbers.max())} pixels")
    total = int(numbers.sum())
    # Some writers leave out the background at the end; what ends in background is cut off.
    short_by_design = not isinstance(counts, bytes) and numbers.size % 2 == 0
    if total > pixels or (total < pixels and not short_by_design):
        raise ValueError(f"runs of {total} pixels together, {pixels} in the image")
    return numbers if total == pixels else np.append(numbers, pixels - total)


def compress(counts: NDArray[np.int64]) -> bytes:
    """Return run lengths as COCO's compressed bytes.

    Args:
        counts: (n,) as `counts_of` returns them.

    Raises:
        ValueError: if they are of more pixels than the format can count.
    """
    # The bytes depend on the runs only, not on how many of their pixels make a column.
    pixels = int(counts.sum())
    if pixels > _MOST_PIXELS:
        raise ValueError(f"runs of {pixels} pixels, the format holds at most {_MOST_PIXELS}")
    packed = coco_mask.frPyObjects({"size": [pixels, 1], "counts": counts.tolist()}, pixels, 1)
    return bytes(packed["counts"])


def encode(patch: Patch | None, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return the run lengths of a mask.

    Args:
        patch: Where the mask is not background; `None` for nowhere.
        size: (height, width) of the image.
    """
    pixels = size[0] * size[1]
    if patch is None or not patch.mask.any():
        return np.array([pixels], np.int64)
    rows = patch.mask.shape[0]
    # With background above and below, the edges of every column come in pairs: in, out.
    columns = np.zeros((patch.mask.shape[1], rows + 2), np.bool_)
    columns[:, 1:-1] = patch.mask.T
    column, row = np.divmod(np.flatnonzero(columns[:, 1:] != columns[:, :-1]), rows + 1)
    edges = (patch.left + column) * size[0] + patch.top + row
    # A run that ends where the next begins goes on in the next column.
    joined = np.flatnonzero(edges[1:-1:2] == edges[2::2])
    edges = np.delete(edges, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    counts = np.diff(edges, prepend=0, append=pixels)
    return counts[:-1] if counts[-1] == 0 else counts


def patch_of_counts(
    counts: NDArray[np.int64], size: tuple[int, int], window: Window
) -> Patch | None:
    """Return what lies inside a window, in the rectangle that it takes there.

    Args:
        counts: (n,) as `counts_of` returns them.
        size: (height, width) of the image.
        window: The part that is wanted.

    Returns:
        The patch in the window's own coordinates, `None` if nothing lies there.
    """
    top, left, height, width = window
    ends = np.cumsum(counts)
    starts, ends = ends[: ends.size - 1 : 2], ends[1::2]
    first, last = left * size[0], (left + width) * size[0]
    starts, ends = starts.clip(first, last), ends.clip(first, last)
    columns, starts, ends = _by_column(starts, ends, size[0])
    starts, ends = starts.clip(top, top + height), ends.clip(top, top + height)
    filled = ends > starts
    if not filled.any():
        return None
    return _drawn(columns[filled] - left, starts[filled] - top, ends[filled] - top)


def _by_column(
    starts: NDArray[np.int64], ends: NDArray[np.int64], height: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut runs at the ends of columns: column, first row, row behind the last of each piece."""
    filled = ends > starts
    starts, ends = starts[filled], ends[filled]
    column = starts // height
    pieces = (ends - 1) // height - column + 1
    if bool((pieces > 1).any()):
        run = np.repeat(np.arange(starts.size), pieces)
        column = column[run] + np.arange(run.size) - (np.cumsum(pieces) - pieces)[run]
        starts, ends = starts[run], ends[run]
    base = column * height
    return column, (starts - base).clip(0, height), (ends - base).clip(0, height)


def _drawn(columns: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Patch:
    top, left = int(starts.min()), int(columns.min())
    height, width = int(ends.max()) - top, int(columns.max()) + 1 - left
    edges = np.stack([starts, ends], axis=1) + ((columns - left) * height - top)[:, None]
    lengths = np.diff(edges.reshape(-1), prepend=0, append=height * width)
    is_object = np.arange(lengths.size) % _EDGES == 1
    mask = np.repeat(is_object, lengths).reshape(width, height).T
    return Patch(top, left, np.ascontiguousarray(mask))


def _listed(counts: object) -> NDArray[np.int64]:
    if not isinstance(counts, list | tuple | np.ndarray):
        raise ValueError(f"{type(counts).__name__} instead of run lengths")  # noqa: TRY004
    numbers: NDArray[Any] = np.asarray(counts)
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
        raise ValueError("run lengths that are no numbers")
    if numbers.dtype.kind == "f" and not bool((numbers == np.rint(numbers)).all()):
        raise ValueError("run lengths that are no whole numbers")
    return numbers.astype(np.int64)


def _digits(data: bytes) -> NDArray[np.int64]:
    """Decompress: digits of five bits, the lowest first; from the fourth number on differences."""
    digits = np.frombuffer(data, np.uint8).astype(np.int64) - _FIRST_DIGIT
    if digits.size == 0:
        return np.zeros(0, np.int64)
    if int(digits.min()) < 0 or int(digits.max()) > 0x3F:
        raise ValueError("characters that no run lengths have")
    last = np.flatnonzero((digits & _MORE) == 0)
    if last.size == 0 or last[-1] != digits.size - 1:
        raise ValueError("run lengths that are cut off")
    first = np.concatenate([[0], last[:-1] + 1])
    places = last - first + 1
    if int(places.max()) > _LONGEST_DIGITS:
        raise ValueError("a run that is longer than any image")
    place = np.arange(digits.size) - np.repeat(first, places)
    numbers = np.add.reduceat((digits & 0x1F) << (_BITS * place), first)
    numbers -= np.where(digits[last] & _SIGN, np.int64(1) << (_BITS * places), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
