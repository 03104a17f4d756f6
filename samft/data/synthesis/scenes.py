"""One image with its objects from a seed, in one of several looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from samft.data.objects import Objects
from samft.data.synthesis import optics
from samft.data.synthesis.canvas import LabelLayers
from samft.data.synthesis.optics import Image
from samft.data.synthesis.scenes_ct import ct
from samft.data.synthesis.scenes_general import photo, shapes, strokes
from samft.data.synthesis.scenes_microscopy import bright_field, fluorescence, tissue
from samft.data.synthesis.scenes_mr import mr
from samft.data.synthesis.scenes_underwater import underwater

Look = Literal[
    "fluorescence",
    "bright_field",
    "tissue",
    "ct",
    "mr",
    "underwater",
    "shapes",
    "photo",
    "strokes",
]
"""What kind of image."""

LOOKS: Final[tuple[Look, ...]] = get_args(Look)

_DRAW: Final[dict[Look, Callable[[Generator, int], tuple[Image, LabelLayers]]]] = {
    "fluorescence": fluorescence,
    "bright_field": bright_field,
    "tissue": tissue,
    "ct": ct,
    "mr": mr,
    "underwater": underwater,
    "shapes": shapes,
    "photo": photo,
    "strokes": strokes,
}
_ATTEMPTS: Final = 20  # by far enough: an image without any object is rare


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A drawn image.

    Args:
        image: (3, size, size) uint8 RGB.
        objects: Its objects; at least one. Their class is the index of the look in `LOOKS`.
        look: What kind of image it is.
    """

    image: NDArray[np.uint8]
    objects: Objects
    look: Look


def draw_scene(seed: int, *, size: int, look: Look) -> Scene:
    """Draw an image; the same arguments give the same image.

    Args:
        seed: Decides everything random.
        size: Side of the image, pixels.
        look: What kind of image.
    """
    rng = np.random.default_rng(seed)
    for _ in range(_ATTEMPTS):
        drawn, layers = _DRAW[look](rng, size)
        objects = layers.objects(LOOKS.index(look))
        if objects.object_class.size:
            break
    shown = optics.to_uint8(drawn)
    planes = [shown] * 3 if shown.ndim == 2 else cv2.split(shown)
    return Scene(image=np.stack(planes), objects=objects, look=look)
