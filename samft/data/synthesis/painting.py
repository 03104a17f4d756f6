"""Paints whole figures: every part with colours and texture of its own."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.synthesis.canvas import LabelLayers, object_colours, paint, shade_round
from samft.data.synthesis.figures import Part
from samft.data.synthesis.optics import Image
from samft.data.synthesis.shapes import Region, region_of
from samft.data.synthesis.textures import Field, TexturePool

_PART_AREA = 50  # smaller parts are details, not objects


class Palette:
    """The colours and textures of one figure, by tone.

    Args:
        rng: Source of everything random.
        pool: The textures of the image.
        low: The darkest colour of the main tone ((3,)); `None` takes one that differs from what
            the figure will cover, see `samft.data.synthesis.canvas.object_colours`.
        grey: Whether all colours are grey.
    """

    def __init__(
        self,
        rng: Generator,
        pool: TexturePool,
        *,
        low: NDArray[np.float32] | None = None,
        grey: bool = False,
    ) -> None:
        self.rng = rng
        self.pool = pool
        self.low = low
        self.grey = grey
        self._tones: dict[int, tuple[NDArray[np.float32], NDArray[np.float32], Field]] = {}

    def tone(
        self, tone: int, image: Image, region: Region
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], Field]:
        """Return the two colours and the texture of a tone; made when first asked for."""
        if tone not in self._tones:
            low, high = object_colours(self.rng, image, region, grey=self.grey)
            if self.low is not None:
                shift = np.float32(0) if tone == 0 else self.rng.normal(0, 60, 3)
                high = np.clip(self.low + shift + (high - low), 0, 255).astype(np.float32)
                low = np.clip(self.low + shift, 0, 255).astype(np.float32)
            self._tones[tone] = (low, high, self.pool.draw(self.rng))
        return self._tones[tone]


def paint_figure(
    rng: Generator,
    image: Image,
    parts: list[Part],
    palette: Palette,
    *,
    layers: LabelLayers | None,
    parts_layer: int | None = 1,
) -> Region | None:
    """Paint a figure in front of everything and label it.

    Args:
        rng: Source of everything random.
        image: Painted in place.
        parts: The parts, from back to front.
        palette: Their colours.
        layers: Where the figure becomes an object, and each large part one of its own; `None` for
            clutter without a label.
        parts_layer: The layer of the parts; `None` to label the whole only.

    Returns:
        The pixels of the figure; `None` if none is in the image.
    """
    size = image.shape[0]
    regions = [(part, region_of(part.shape, size)) for part in parts]
    seen = [(part, region) for part, region in regions if region is not None]
    if not seen:
        return None
    whole = _union([region for _, region in seen])
    round_ = rng.random() < 0.5
    for part, region in seen:
        paint(image, region, *palette.tone(part.tone, image, region))
        if round_ and region.mask.size > 64:
            shade_round(rng, image, region, rng.uniform(0.1, 0.5))
    if layers is None:
        return whole
    value = layers.add(whole)
    if parts_layer is not None and len(seen) > 1:
        for _, region in seen:
            if cv2.countNonZero(region.mask.view(np.uint8)) >= _PART_AREA:
                layers.add_part(region, value, layer=parts_layer)
    return whole


def _union(regions: list[Region]) -> Region:
    top = min(region.box[0].start for region in regions)
    left = min(region.box[1].start for region in regions)
    bottom = max(region.box[0].stop for region in regions)
    right = max(region.box[1].stop for region in regions)
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for region in regions:
        rows, columns = region.box
        mask[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] |= (
            region.mask
        )
    return Region(box=(slice(top, bottom), slice(left, right)), mask=mask)
