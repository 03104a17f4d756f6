"""Leave out the padding that no image of a batch needs.

SAM pads every image to a square. Of a batch of images in the ratio 4:3 a quarter is padding, of
16:9 nearly half, and the encoder works on it all the same. Trimmed, a batch ends at the first
multiple of the patch size that holds all of its images; prompts and frames stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from samft.data.prompted import PromptedBatch
from samft.types import Frame, SamBatch

Batch = TypeVar("Batch", bound=SamBatch | PromptedBatch)


def trimmed_size(frames: Iterable[Frame], cell: int) -> tuple[int, int]:
    """Return the least (height, width) that holds all images, in pixels of the input frame.

    Args:
        frames: The frames of the images.
        cell: Pixels that height and width must be multiples of: the model's patch size.
    """
    sizes = [frame.input_size for frame in frames]
    height, width = (-(-max(size[axis] for size in sizes) // cell) * cell for axis in (0, 1))
    return height, width


def trim_padding(batch: Batch, cell: int) -> Batch:
    """Cut the images of a batch, and their label layers, to `trimmed_size`.

    Args:
        batch: Images in the input frame, padded right and bottom.
        cell: See `trimmed_size`.
    """
    height, width = trimmed_size(batch.frames, cell)
    images = batch.images[..., :height, :width].contiguous()
    if isinstance(batch, PromptedBatch):
        return replace(batch, images=images)
    layers = batch.layers[..., :height, :width].contiguous()
    return replace(batch, images=images, layers=layers)
