"""The `segmentation` of COCO and its relatives, packed into bytes while a large file is read."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samft.data.run_lengths import compress, counts_of

_POLYGONS, _RUNS = b"P", b"R"
_COUNT = struct.Struct("<I")
_SIZE = struct.Struct("<II")
_MOST_POINTS = 2_000_000  # of one object
_EVERYWHERE = (-math.inf, -math.inf, math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Packed:
    """A segmentation as bytes.

    Args:
        data: See `unpack`; empty if nothing is enclosed.
        box: (top, left, bottom, right) of polygons; infinite of run lengths.
        size: (height, width) that run lengths state.
        too_few: Polygons of fewer than three points, which are left out.
    """

    data: bytes
    box: tuple[float, float, float, float] = _EVERYWHERE
    size: tuple[int, int] | None = None
    too_few: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What an object's outline is: polygons, or run lengths of the whole image.

    Args:
        rings: (N, 2) float64 `(x, y)` each, pixels.
        rle: As pycocotools takes it.
    """

    rings: tuple[NDArray[np.float64], ...] = ()
    rle: Mapping[str, object] | None = None


def pack(value: object) -> Packed:
    """Check a segmentation and pack it.

    Args:
        value: Polygons `[[x, y, x, y, ...], ...]`, also a single one or with points in pairs; or
            run lengths `{"size": [height, width], "counts": text or numbers}`.

    Raises:
        ValueError: if it is neither, with what was found.
    """
    if isinstance(value, dict):
        return _pack_runs(value)
    if not isinstance(value, list):
        raise ValueError(f"{type(value).__name__} as segmentation")  # noqa: TRY004
    rings = [ring for ring in (_ring(item) for item in _listed(value)) if len(ring)]
    if sum(map(len, rings)) > 2 * _MOST_POINTS:
        raise ValueError(f"an outline of {sum(map(len, rings)) // 2} points")
    kept = [ring for ring in rings if len(ring) >= 6]
    too_few = len(rings) - len(kept)
    if not kept:
        return Packed(b"", too_few=too_few)
    parts = [_POLYGONS, _COUNT.pack(len(kept)), *(_COUNT.pack(len(ring)) for ring in kept)]
    box = (
        min(min(ring[1::2]) for ring in kept),
        min(min(ring[0::2]) for ring in kept),
        max(max(ring[1::2]) for ring in kept),
        max(max(ring[0::2]) for ring in kept),
    )
    return Packed(b"".join([*parts, *(ring.tobytes() for ring in kept)]), box, None, too_few)


def unpack(data: bytes) -> Segmentation:
    """Return what `pack` packed: a letter, then the rings or the run lengths."""
    if data[:1] == _RUNS:
        size = list(_SIZE.unpack_from(data, 1))
        return Segmentation(rle={"size": size, "counts": data[1 + _SIZE.size :]})
    (count,) = _COUNT.unpack_from(data, 1)
    lengths = np.frombuffer(data, "<u4", count, 1 + _COUNT.size)
    numbers = np.frombuffer(data, np.float64, int(lengths.sum()), 1 + _COUNT.size * (count + 1))
    rings = np.split(numbers, np.cumsum(lengths)[:-1])
    return Segmentation(rings=tuple(ring.reshape(-1, 2) for ring in rings))


def _listed(value: list[Any]) -> list[Any]:
    """Return a list of rings, whatever depth the writer gave them."""
    if value and not isinstance(value[0], list):
        return [value]  # the numbers of one polygon
    pairs = all(isinstance(item, list) and len(item) == 2 for item in value)
    return [value] if pairs and len(value) > 2 else value


def _ring(value: object) -> array[float]:
    if not isinstance(value, list):
        raise ValueError(f"{type(value).__name__} as polygon")  # noqa: TRY004
    try:
        if value and isinstance(value[0], list):
            value = [number for x, y in value for number in (x, y)]
        ring = array("d", value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("a polygon of something else than numbers") from error
    if len(ring) % 2:
        raise ValueError(f"a polygon of {len(ring)} numbers, which are no pairs")
    if not math.isfinite(math.fsum(ring) if len(ring) < 4 else sum(ring)):
        raise ValueError("a corner that is no number (nan or infinity)")
    return ring


def _pack_runs(value: Mapping[str, Any]) -> Packed:
    size, counts = value.get("size"), value.get("counts")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(isinstance(side, int | float) and 0 < side < 2**31 for side in size)
    ):
        raise ValueError(f"run lengths of size {size!r:.60}")
    height, width = int(size[0]), int(size[1])
    if isinstance(counts, str):  # checked when it is put into pixels
        data = counts.encode("ascii", errors="replace")
    else:
        data = compress(counts_of(counts, (height, width)))
    return Packed(_RUNS + _SIZE.pack(height, width) + data, size=(height, width))
