"""Augmentation: a protocol, an albumentations adapter that is seeded correctly, and presets."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from samft.errors import ConfigError, did_you_mean
from samft.types import Sample

if TYPE_CHECKING:
    from albumentations import BaseCompose, BasicTransform

_MAX_FLOAT_LABEL: Final = 2**24  # float32 holds every whole number up to here


class Transform(Protocol):
    """Augments a sample; the same seed gives the same result."""

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return an augmented sample; objects that left the image keep their row, without pixels.

        Args:
            sample: A sample in the original frame; it is not changed.
            seed: Decides everything random.
        """
        ...


class AlbumentationsTransform:
    """Runs albumentations transforms on the image and all label layers alike.

    albumentations keeps its own random state, which workers copy and epochs repeat; here it is set
    anew for every sample. Labels are never interpolated, and pixels that come in from outside are
    background. The spacing of a sample stays that of its file.

    Args:
        transforms: albumentations transforms, applied in this order.
    """

    def __init__(self, transforms: Sequence[BasicTransform | BaseCompose]) -> None:
        self._compose = _albumentations().Compose(list(transforms))

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """Return an augmented sample."""
        # Not `set_random_seed`: it gives every transform the same stream, so that for example both
        # flips of a sample would always come together.
        self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))  # noqa: S311
        image = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        whole = image.dtype == np.uint8
        # OpenCV cannot warp int32, and float images are expected in 0..1.
        assert sample.num_objects < _MAX_FLOAT_LABEL
        result = self._compose(
            image=image if whole else image / np.float32(255),
            masks=[layer.numpy().astype(np.float32) for layer in sample.layers],
        )
        return sample.replace(
            image=_to_tensor(result["image"], scale=None if whole else 255.0),
            layers=torch.from_numpy(np.stack(result["masks"]).astype(np.int32)),
        )


def build_transform(name: str | None, *, num_channels: int = 3) -> Transform | None:
    """Return a preset by name.

    Args:
        name: `none` or `None` for no augmentation, or one of `flip`, `medical` (no mirroring:
            left and right differ), `microscopy`, `underwater`.
        num_channels: Channels of the images.

    Raises:
        ConfigError: if the name is unknown, or the preset shifts colours and the images have other
            channels than red, green and blue.
    """
    if name is None or name == "none":
        return None
    if name not in _PRESETS:
        raise ConfigError(
            f"unknown augmentation preset {name!r}",
            where="data.transforms",
            fix=did_you_mean(name, ["none", *_PRESETS]),
        )
    if name in _COLOUR_PRESETS and num_channels != 3:
        raise ConfigError(
            "this augmentation shifts the colours of RGB images",
            where="data.transforms",
            found=f"{name}, with images of {num_channels} channels",
            expected=", ".join(preset for preset in _PRESETS if preset not in _COLOUR_PRESETS),
        )
    return AlbumentationsTransform(_PRESETS[name]())


def _albumentations() -> Any:  # Any: published without types
    # On import it would ask the network for a newer version.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def _to_tensor(image: NDArray[np.uint8 | np.float32], scale: float | None) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return tensor if scale is None else (tensor * scale).clamp(0, 255)


def _flip() -> list[BasicTransform]:
    A = _albumentations()  # noqa: N806  (the name albumentations is known by)
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def _medical() -> list[BasicTransform]:
    A = _albumentations()  # noqa: N806  (the name albumentations is known by)
    return [
        A.Affine(scale=(0.85, 1.15), rotate=(-15, 15), translate_percent=(-0.06, 0.06), p=0.7),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.2, p=0.5),
        A.RandomGamma(gamma_limit=(75, 135), p=0.3),
        A.GaussNoise(std_range=(0.01, 0.04), p=0.2),
    ]


def _microscopy() -> list[BasicTransform]:
    A = _albumentations()  # noqa: N806  (the name albumentations is known by)
    return [
        A.D4(p=1.0),
        A.Affine(scale=(0.8, 1.25), rotate=(-45, 45), p=0.4),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.5),
        A.RandomGamma(gamma_limit=(70, 140), p=0.3),
        A.GaussianBlur(blur_limit=(3, 5), p=0.15),
        A.GaussNoise(std_range=(0.01, 0.05), p=0.2),
    ]


def _underwater() -> list[BasicTransform]:
    A = _albumentations()  # noqa: N806  (the name albumentations is known by)
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(scale=(0.85, 1.2), rotate=(-10, 10), translate_percent=(-0.05, 0.05), p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.5),
        A.RGBShift(
            r_shift_limit=(-35, 10), g_shift_limit=(-15, 15), b_shift_limit=(-10, 35), p=0.5
        ),
        A.GaussianBlur(blur_limit=(3, 5), p=0.2),
    ]


_PRESETS: dict[str, Callable[[], list[BasicTransform]]] = {
    "flip": _flip,
    "medical": _medical,
    "microscopy": _microscopy,
    "underwater": _underwater,
}
_COLOUR_PRESETS = ("underwater",)
