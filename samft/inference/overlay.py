"""Pictures people look at: an image with masks, prompts and a caption, several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

# Okabe and Ito's palette, which colour-blind people can tell apart, without black.
PALETTE: tuple[tuple[int, int, int], ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)
_POSITIVE, _NEGATIVE, _BOX = (80, 255, 80), (255, 60, 60), (255, 255, 255)
_CAPTION_HEIGHT = 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """Prompts to draw on an image, original frame.

    Args:
        boxes: (k, 4) xyxy.
        points: (k, 2) `(x, y)`.
        labels: (k,) 1 for the object, 0 for background.
    """

    boxes: NDArray[np.float32] | None = None
    points: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None

    @classmethod
    def from_prompt(cls, prompt: dict[str, Any]) -> Self:  # Any: JSON
        """Take the marks from plain data with `box`, `points` and `labels`, each optional."""
        box, points, labels = prompt.get("box"), prompt.get("points"), prompt.get("labels")
        return cls(
            boxes=None if box is None else np.array([box], np.float32),
            points=None if not points else np.array(points, np.float32),
            labels=None if not labels else np.array(labels, np.int64),
        )


def picture(image: Tensor) -> NDArray[np.uint8]:
    """Turn a (C, H, W) tensor of 0..255 into an (H, W, 3) uint8 array of its first channels."""
    image = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    rounded = image if image.dtype == torch.uint8 else image.round().clamp(0, 255)
    return rounded.permute(1, 2, 0).to(torch.uint8).cpu().numpy()


def draw_masks(
    image: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    *,
    opacity: float = 0.45,
) -> NDArray[np.uint8]:
    """Return `image` ((H, W, 3) uint8 RGB) with each mask filled half-transparent and outlined."""
    canvas = image.astype(np.float32)
    outlines: list[tuple[NDArray[np.bool_], tuple[int, int, int]]] = []
    for number, mask in enumerate(masks):
        colour = PALETTE[number % len(PALETTE)]
        canvas[mask] = (1 - opacity) * canvas[mask] + opacity * np.array(colour, np.float32)
        outlines.append((mask & ~ndimage.binary_erosion(mask, border_value=1), colour))
    for outline, colour in outlines:
        canvas[outline] = colour
    return canvas.astype(np.uint8)


def draw_marks(image: NDArray[np.uint8], marks: Marks, *, weight: float = 1.0) -> NDArray[np.uint8]:
    """Return `image` ((H, W, 3) uint8 RGB) with boxes and points drawn on it.

    Args:
        image: The picture.
        marks: What to draw.
        weight: How bold; more than 1 for pictures that are shown small.
    """
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    side = max(image.shape[:2])
    width, radius = max(1, round(weight * side / 300)), max(2, round(weight * side / 120))
    for box in [] if marks.boxes is None else marks.boxes:
        pen.rectangle([float(value) for value in box], outline=_BOX, width=width)
    if marks.points is not None and marks.labels is not None:
        for (x, y), label in zip(marks.points, marks.labels, strict=True):
            colour = _POSITIVE if label == 1 else _NEGATIVE
            corners = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(corners, fill=colour, outline=(0, 0, 0), width=width)
    return np.asarray(picture)


def side_by_side(
    panels: Sequence[tuple[str, NDArray[np.uint8]]], *, height: int = 320
) -> NDArray[np.uint8]:
    """Put captioned panels ((H, W, 3) uint8 RGB) next to each other, scaled to `height`."""
    columns = [_captioned(title, panel, height) for title, panel in panels]
    gap = np.full((columns[0].shape[0], 6, 3), 255, np.uint8)
    row = [part for column in columns for part in (column, gap)][:-1]
    return np.concatenate(row, axis=1)


def stack_rows(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put rows ((H, W, 3) uint8 RGB) below each other, padded with white to the widest."""
    width = max(row.shape[1] for row in rows)
    padded = [
        np.pad(row, ((0, 6), (0, width - row.shape[1]), (0, 0)), constant_values=255)
        for row in rows
    ]
    return np.concatenate(padded, axis=0)


def _captioned(title: str, panel: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = max(1, round(panel.shape[1] * height / panel.shape[0]))
    # Enlarging smoothly would hide pixel errors on small images.
    smooth = panel.shape[0] > height
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    canvas = Image.new("RGB", (width, height + _CAPTION_HEIGHT), (255, 255, 255))
    canvas.paste(Image.fromarray(panel).resize((width, height), method), (0, _CAPTION_HEIGHT))
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(canvas).text((4, 2), title, fill=(0, 0, 0), font=font)
    return np.asarray(canvas)
