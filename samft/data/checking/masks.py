"""What the stored numbers of one mask file tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from samft.data.checking.facts import MaskFacts
from samft.data.checking.findings import Finding
from samft.data.label_maps import count_values, renumber, values_of
from samft.data.layouts.base import LayoutSettings
from samft.data.readers.image import LOSSY_SUFFIXES, read_image, read_mask
from samft.data.readers.tiff_stack import is_stack, read_stack
from samft.data.readers.volumes import is_volume, read_volume

_MAX_VALUES = 4096
_MAX_TABLE = 2**20
_WHITE: Final = 250
_DARK, _BRIGHT = 15, 240  # what loss makes of 0 and 255
_CORE = 0.1  # share of a value's pixels that lie inside, not at an edge
_STRAY = 1e-3
_NEAR = 64  # grey levels that edges and loss keep from 0 and 255 in flat areas, at most
_FOREIGN = 1000  # areas of a foreign colour count from one pixel in so many on
_MANY = 256  # more colours than are ever classes
_CORNERS = np.ones((3, 3), dtype=bool)


def read_stored(path: Path) -> NDArray[Any]:
    """Read the numbers that a mask file stores, before anything is made of them.

    Returns:
        (H, W), (L, Z, Y, X), or (H, W, 3) where the mask has colours.

    Raises:
        DatasetError: if the file is unreadable or holds no whole numbers.
    """
    if is_volume(path):
        return read_volume(path).array
    if is_stack(path):
        return read_stack(path)
    if path.suffix.lower() in LOSSY_SUFFIXES:
        picture = read_image(path)
        even = picture.ndim == 2 or bool((picture == picture[..., :1]).all())
        return picture[..., 0] if even and picture.ndim == 3 else picture
    return read_mask(path)


def size_of(stored: NDArray[Any]) -> tuple[int, ...]:
    """Return (H, W) or (Z, Y, X) of what `read_stored` gave."""
    if stored.ndim == 4:
        return stored.shape[1:]
    return stored.shape[:2]


def measure(stored: NDArray[Any], settings: LayoutSettings, *, alone: bool = True) -> MaskFacts:
    """Count values and pieces of a mask without colours.

    Args:
        stored: As `read_stored` gives it.
        settings: What is background.
        alone: Whether it is the only mask of its image, so that it holds several objects.
    """
    background = 0 if settings.background is None else settings.background
    values, counts = _count(stored)
    facts = MaskFacts(depth=str(stored.dtype))
    inside = stored != background
    facts.foreground = float(inside.mean())
    if len(values) <= _MAX_VALUES:
        facts.values = dict(zip(values, counts, strict=True))
    if stored.ndim == 2 and alone:
        facts.outline = int.from_bytes(np.packbits(_grid(inside) > 0.5).tobytes(), "little")
        edge = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
        facts.border = float(edge.mean())
        if 0 < len(facts.values) <= _MAX_VALUES:
            facts.pieces, facts.scattered = _pieces(stored, background)
    return facts


def check_grey(
    stored: NDArray[Any], facts: MaskFacts, path: Path, *, name: str, settings: LayoutSettings
) -> list[Finding]:
    """Find values that were blurred, compressed or painted by accident.

    Args:
        stored: (H, W) as `read_stored` gives it.
        facts: What `measure` gave.
        path: The file.
        name: Its name below the data root.
        settings: A threshold makes in-between values harmless.
    """
    if settings.threshold is not None or stored.ndim != 2:
        return []
    if path.suffix.lower() in LOSSY_SUFFIXES:
        grey = sum(1 for value in facts.values if 0 < value < 255)
        return [_finding("mask-jpeg", name, f"{grey} grey levels between black and white")]
    others = _between(stored, facts.values)
    foreground = sum(count for value, count in facts.values.items() if value != 0)
    share = sum(facts.values[value] for value in others)
    if others and share <= _STRAY * foreground:
        found = ", ".join(f"{value} ({facts.values[value]} px)" for value in others[:4])
        return [_finding("mask-stray-values", name, found)]
    if len(others) >= 3:
        found = f"{len(others)} values between black and white, {share} px, such as {others[0]}"
        return [_finding("mask-blurred", name, found)]
    return []


def check_colours(stored: NDArray[Any], name: str, settings: LayoutSettings) -> list[Finding]:
    """Find colours where numbers are expected.

    Args:
        stored: (H, W, 3) as `read_stored` gives it.
        name: The file's name below the data root.
        settings: With a palette, colours are what is expected.
    """
    codes = (stored.astype(np.int64) * (65536, 256, 1)).sum(axis=-1)
    expected = "one number per pixel, or colours that are named"
    if settings.palette is not None:
        codes = codes[_flat_and_foreign(stored, codes, settings.palette)]
        if codes.size * 3 * _FOREIGN <= stored.size:
            return [_lossy_colours(name)] if _is_lossy(name) else []
        expected = "the colours of data.palette, by default those of SUIM"
    colours, counts = np.unique(codes, return_counts=True)
    top = colours[np.argsort(-counts, kind="stable")][:4]
    shown = [[int(c) >> 16, int(c) >> 8 & 255, int(c) & 255] for c in top]
    entries = ", ".join(f"class{i}: {colour}" for i, colour in enumerate(shown))
    advice = f"name the colours in data.palette: {{{entries}}}, or save grey label images"
    if settings.palette is None and colours.size > _MANY and _is_lossy(name):
        advice = "save masks as PNG, of the original ones: JPEG changes their colours"
    elif colours.size > 1:
        advice += "; where each colour is one object, only grey label images will do"
    return [
        Finding(
            code="mask-colours",
            file=name,
            found=f"{colours.size} colours, most of them {', '.join(map(str, shown))}",
            expected=expected,
            fix=advice,
        )
    ]


def _lossy_colours(name: str) -> Finding:
    return Finding(
        code="mask-jpeg",
        file=name,
        found="colours that mean classes",
        expected="exact colours; at edges loss makes specks of other classes",
        fix="save masks as PNG, or drop specks with data.min_area: 100",
    )


def _is_lossy(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in LOSSY_SUFFIXES


def _flat_and_foreign(
    stored: NDArray[Any], codes: NDArray[np.int64], palette: Mapping[str, Sequence[int]]
) -> NDArray[np.bool_]:
    """Return where areas, not edges, have a colour far from the palette's of 0 and 255.

    Other palettes are compared exactly when a mask is read.
    """
    if not np.isin(list(palette.values()), (0, 255)).all():
        return np.zeros(codes.shape, np.bool_)
    grey = (np.minimum(stored, 255 - stored) > _NEAR).any(axis=-1)
    flat = ndimage.minimum_filter(codes, 3) == ndimage.maximum_filter(codes, 3)
    return np.asarray(grey & flat)


def _grid(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    small = Image.fromarray(mask.astype(np.float32)).resize((8, 8), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _count(stored: NDArray[Any]) -> tuple[list[int], list[int]]:
    lowest, highest = stored.min(), stored.max()
    if stored.dtype.kind in "iu" and lowest >= 0 and highest < _MAX_TABLE:
        counts = count_values(stored, int(highest))
        values = np.flatnonzero(counts)
        return values.tolist(), counts[values].tolist()
    values, counts = np.unique(np.rint(stored), return_counts=True)
    finite = np.isfinite(values)
    return [int(value) for value in values[finite]], counts[finite].tolist()


def _pieces(label_map: NDArray[Any], background: int) -> tuple[int, int]:
    """Return how many connected pieces all values have, and how many values lie in several."""
    if background == 0 and label_map.dtype.kind in "iu" and label_map.min() >= 0:
        values = np.array([value for value in values_of(label_map) if value], np.int64)
        numbered = renumber(label_map, values)
    else:
        values, index = np.unique(label_map, return_inverse=True)
        numbered = index.reshape(label_map.shape).astype(np.int32) + 1
    pieces = scattered = 0
    for row, box in enumerate(ndimage.find_objects(numbered)):
        if box is None or values[row] == background:
            continue
        labelled, count = ndimage.label(numbered[box] == row + 1, _CORNERS)
        pieces += count
        if count > 1:
            areas = np.bincount(labelled.reshape(-1))[1:]
            large = areas >= max(10, 0.2 * areas.sum())
            scattered += int(large.sum() > 1)
    return pieces, scattered


def _between(stored: NDArray[Any], values: Mapping[int, int]) -> list[int]:
    """Return the values of a black and white mask, or one with a grey, that only edges have."""
    if not values or 0 not in values or not _WHITE <= max(values) <= 255:
        return []
    total = stored.size
    near = [v for v in values if 0 < v <= _DARK or _BRIGHT <= v < max(values)]
    bright = sum(v >= _BRIGHT for v in near)  # classes 1, 2, 3 have no counterparts near 255
    extreme = sum(c for v, c in values.items() if v <= _DARK or v >= _BRIGHT)
    if len(near) >= 3 and bright >= 2 and extreme >= 0.9 * total:
        return [v for v in values if 0 < v < max(values)]
    white = values[max(values)]
    if white < 0.2 * (total - values[0]):
        return []
    middle = [v for v in values if 0 < v < max(values)]
    cores = [v for v in middle if _core_share(stored == v) >= _CORE]
    return [] if len(cores) > 2 else [v for v in middle if v not in cores]


def _core_share(mask: NDArray[np.bool_]) -> float:
    return float(ndimage.binary_erosion(mask, _CORNERS).sum() / mask.sum())


def _finding(code: str, name: str, found: str) -> Finding:
    return Finding(
        code=code,
        file=name,
        found=found,
        expected="a few exact values, such as 0 and 255",
        fix="set data.threshold: 128, or save masks as PNG or TIFF without smoothing",
    )
