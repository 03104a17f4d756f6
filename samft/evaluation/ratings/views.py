"""The five views of a mask that raters judge it by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from samft.evaluation.ratings.jobs import RatedMask

VIEWS: Final = ("image", "mask on the image", "mask alone", "close-up", "close-up with the mask")
_BLUE, _WHITE = (20, 90, 255), (255, 255, 255)
_FILL, _EDGE = (255, 150, 0), (255, 235, 0)  # of the mask: far from the blue of prompts
_OPACITY = 0.45
_OUTLINE = 2  # pixels of the sheet
_PANEL = (480, 360)  # most width and height of a small view, pixels of the sheet
_CLOSE_UP = (730, 520)
_GAP, _CAPTION = 8, 20
_MARGIN = 0.25  # of a close-up around mask and prompt, as a share of their box
_LEAST_WINDOW = 24  # pixels of the image

Window = tuple[int, int, int, int]
"""(top, left, bottom, right), pixels of the shown image, the last two not included."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """An image with mask and prompt at the size that raters see at most."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    boxes: list[tuple[float, float, float, float]]
    points: list[tuple[float, float]]


def five_views(rated: RatedMask, *, max_side: int) -> NDArray[np.uint8]:
    """Draw what is shown of a job as one picture.

    Above: the image, the mask on it, the mask alone; below: two close-ups, without and with the
    mask. The prompt is on all but the third, a blue dot or a blue and white box.

    Args:
        rated: Image, mask and prompt.
        max_side: Most pixels of the image's longer side that are shown.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    shown = _shrunk(rated, max_side)
    height, width = shown.mask.shape
    whole = (0, 0, height, width)
    near = _window(shown)
    alone = np.where(shown.mask[..., None], np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    above = [
        _prompted(_cut(shown.image, whole, _PANEL), shown, whole),
        _prompted(_with_mask(shown, whole, _PANEL, opacity=_OPACITY), shown, whole),
        _cut(alone, whole, _PANEL),
    ]
    below = [
        _prompted(_cut(shown.image, near, _CLOSE_UP), shown, near),
        _prompted(_with_mask(shown, near, _CLOSE_UP, opacity=0.0), shown, near),
    ]
    return _page(
        [list(zip(VIEWS[:3], above, strict=True)), list(zip(VIEWS[3:], below, strict=True))]
    )


def _shrunk(rated: RatedMask, max_side: int) -> _Shown:
    height, width = rated.mask.shape
    scale = min(1.0, max_side / max(height, width))
    boxes, points = _marks(rated.prompt)
    if scale == 1.0:
        return _Shown(rated.image, rated.mask, boxes, points)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(rated.image).resize(size, Image.Resampling.BILINEAR, reducing_gap=3)
    mask = Image.fromarray(rated.mask).convert("L").resize(size, Image.Resampling.BOX)
    across, down = size[0] / width, size[1] / height
    return _Shown(
        np.asarray(image),
        np.asarray(mask) >= 128,
        [
            (_moved(x0, across), _moved(y0, down), _moved(x1, across), _moved(y1, down))
            for x0, y0, x1, y1 in boxes
        ],
        [(_moved(x, across), _moved(y, down)) for x, y in points],
    )


def _marks(
    prompt: Mapping[str, Any],
) -> tuple[list[tuple[float, float, float, float]], list[tuple[float, float]]]:
    box = prompt.get("box")
    boxes = [] if box is None else [(float(box[0]), float(box[1]), float(box[2]), float(box[3]))]
    return boxes, [(float(x), float(y)) for x, y in prompt.get("points") or []]


def _moved(value: float, scale: float) -> float:
    """Move a coordinate of pixel centres to an image of another size."""
    return (value + 0.5) * scale - 0.5


def _window(shown: _Shown) -> Window:
    """Return what a close-up shows: mask and prompt with some room around, within the image."""
    height, width = shown.mask.shape
    rows, columns = np.flatnonzero(shown.mask.any(axis=1)), np.flatnonzero(shown.mask.any(axis=0))
    tops = [*rows[[0, -1]].tolist()] if len(rows) else []
    sides = [*columns[[0, -1]].tolist()] if len(columns) else []
    for x0, y0, x1, y1 in shown.boxes:
        tops, sides = [*tops, y0, y1], [*sides, x0, x1]
    for x, y in shown.points:
        tops, sides = [*tops, y], [*sides, x]
    if not tops:
        return 0, 0, height, width
    top, bottom = _widened(min(tops), max(tops), height)
    left, right = _widened(min(sides), max(sides), width)
    return top, left, bottom, right


def _widened(low: float, high: float, length: int) -> tuple[int, int]:
    room = max(_MARGIN * (high - low + 1), (_LEAST_WINDOW - (high - low + 1)) / 2)
    start, end = max(0, round(low - room)), min(length, round(high + 1 + room))
    return (start, end) if end > start else (0, length)


def _cut(pixels: NDArray[np.uint8], window: Window, most: tuple[int, int]) -> Image.Image:
    """Cut a window out and scale it to fit."""
    top, left, bottom, right = window
    scale = min(most[0] / (right - left), most[1] / (bottom - top))
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    # Enlarging smoothly would hide what is wrong by a pixel.
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    return Image.fromarray(part).resize(size, method)


def _with_mask(
    shown: _Shown, window: Window, most: tuple[int, int], *, opacity: float
) -> Image.Image:
    """Return a window of the image with the mask's outline, filled where it has an opacity."""
    canvas = np.array(_cut(shown.image, window, most))
    mask = np.asarray(_cut(shown.mask.astype(np.uint8) * np.uint8(255), window, most)) >= 128
    mixed = (1 - opacity) * canvas[mask] + opacity * np.array(_FILL)
    canvas[mask] = mixed.astype(np.uint8)
    # Inside of the mask, and thin however far it is enlarged: its outer side is what is judged. At
    # the edge of the window the mask goes on.
    inner = ndimage.binary_erosion(mask, iterations=_OUTLINE, border_value=1)
    canvas[mask & ~inner] = _EDGE
    return Image.fromarray(canvas)


def _prompted(panel: Image.Image, shown: _Shown, window: Window) -> Image.Image:
    """Draw the prompt on a panel, at the size of the panel."""
    top, left, bottom, right = window
    across, down = panel.width / (right - left), panel.height / (bottom - top)
    pen = ImageDraw.Draw(panel)
    for x0, y0, x1, y1 in shown.boxes:
        corners = (
            (x0 - left) * across,
            (y0 - top) * down,
            (x1 + 1 - left) * across - 1,
            (y1 + 1 - top) * down - 1,
        )
        _draw_box(pen, corners)
    for x, y in shown.points:
        _draw_dot(pen, (x - left + 0.5) * across, (y - top + 0.5) * down)
    return panel


def _draw_box(pen: ImageDraw.ImageDraw, corners: tuple[float, float, float, float]) -> None:
    x0, y0, x1, y1 = corners
    x1, y1 = max(x0, x1), max(y0, y1)
    for outwards, colour in ((2, _BLUE), (1, _WHITE), (0, _BLUE)):
        pen.rectangle((x0 - outwards, y0 - outwards, x1 + outwards, y1 + outwards), outline=colour)


def _draw_dot(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    for radius, colour in ((7, _WHITE), (5, _BLUE)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _page(rows: list[list[tuple[str, Image.Image]]]) -> NDArray[np.uint8]:
    """Put captioned panels into rows."""
    widths = [sum(panel.width + _GAP for _, panel in row) - _GAP for row in rows]
    heights = [max(panel.height for _, panel in row) + _CAPTION for row in rows]
    page = Image.new("RGB", (max(widths), sum(heights) + _GAP * (len(rows) - 1)), _WHITE)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for title, panel in row:
            pen.text((left, top + 2), title, fill=(60, 60, 60), font=font)
            page.paste(panel, (left, top + _CAPTION))
            left += panel.width + _GAP
        top += height + _GAP
    return np.asarray(page)
