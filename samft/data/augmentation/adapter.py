"""albumentations behind the `Transform` protocol, seeded for every sample anew."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from samft.data.augmentation.planes import distinct
from samft.types import Sample

if TYPE_CHECKING:
    from albumentations import BaseCompose, BasicTransform

_MAX_FLOAT_LABEL: Final = 2**24  # float32 holds every whole number up to here


class AlbumentationsTransform:
    """Runs albumentations transforms on the image and all label layers alike.

    albumentations keeps its own random state, which workers copy and epochs repeat; here it is set
    anew for every sample. Labels are never interpolated, and pixels that come in from outside are
    background. The spacing of a sample stays that of its file.

    Args:
        transforms: albumentations transforms, applied in this order.
    """

    def __init__(self, transforms: Sequence[BasicTransform | BaseCompose]) -> None:
        self._compose = albumentations().Compose(list(transforms))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return an augmented sample."""
        # Not `set_random_seed`: it gives every transform the same stream, so that for example both
        # flips of a sample would always come together.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        image = np.ascontiguousarray(distinct(sample.image).permute(1, 2, 0).numpy())
        whole = image.dtype == np.uint8
        # OpenCV cannot warp int32, and float images are expected in 0..1.
        assert sample.num_objects < _MAX_FLOAT_LABEL
        result = self._compose(
            image=image if whole else image / np.float32(255),
            masks=[layer.numpy().astype(np.float32) for layer in sample.layers],
        )
        changed = _to_tensor(result["image"], scale=None if whole else 255.0)
        return sample.replace(
            image=changed.expand(sample.image.shape[0], -1, -1).contiguous(),
            layers=torch.from_numpy(np.stack(result["masks"]).astype(np.int32)),
        )


def albumentations() -> Any:  # Any: published without types
    """Return the package, imported when first needed."""
    # On import it would ask the network for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def _to_tensor(image: NDArray[np.uint8 | np.float32], scale: float | None) -> torch.Tensor:
    # A copy: mirrored images of one pixel are contiguous for numpy, and not for torch.
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())
    return tensor if scale is None else (tensor * scale).clamp(0, 255)
