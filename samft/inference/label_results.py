"""What large computations tell when they are done, and while they are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samft.inference.automatic_settings import AutomaticMaskSettings
from samft.inference.images import ImageLike
from samft.inference.prompt_arrays import Numbers
from samft.inference.records import MaskRecord
from samft.models.sam import Sam

Progress = Callable[[int, int], None]
"""Is called with the steps done and all steps, from the first on."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelResult:
    """A label array that was written.

    Args:
        path: Where it is: int32, 0 background, objects 1 to `count`.
        shape: Its shape, (H, W) or (depth, height, width).
        scores: (count,) float32, predicted IoU of every object, in the order of their labels; of
            objects in several slices the mean.
    """

    path: Path
    shape: tuple[int, ...]
    scores: NDArray[np.float32]

    @property
    def count(self) -> int:
        """Number of objects."""
        return len(self.scores)


class MaskGenerator(Protocol):
    """What finds the objects of an image: `AutomaticMasks`, or what behaves like it."""

    @property
    def sam(self) -> Sam:
        """The model; its weights tell results of different models apart."""

    @property
    def settings(self) -> AutomaticMaskSettings:
        """What is kept."""

    @property
    def grids(self) -> list[Tensor]:
        """Where it asks."""

    def records(self, image: ImageLike, *, candidates: Numbers | None = None) -> list[MaskRecord]:
        """Return the masks of an image."""


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""
    del done, total
