"""Augmentation presets: what may happen to images of a domain without their meaning changing.

What each costs for an RGB image of 1024 x 1024 with one label layer, on average, in milliseconds of
one core, and in brackets for a grey one: flip 8 (3), medical 27 (12), mr 30 (14),
microscopy 20 (11), histology 25, underwater 14, lsj 8, foreground_crop 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from samft.data.augmentation.adapter import AlbumentationsTransform, albumentations
from samft.data.augmentation.base import Chain, Sometimes, Transform
from samft.data.augmentation.bias_field import BiasField
from samft.data.augmentation.focus import Defocus
from samft.data.augmentation.foreground_crop import ForegroundCrop
from samft.data.augmentation.large_scale_jitter import LargeScaleJitter
from samft.data.augmentation.noise import GaussianNoise, PhotonNoise
from samft.data.augmentation.resolution import LowResolution
from samft.data.augmentation.settings import AugmentationSettings
from samft.data.augmentation.stains import StainJitter
from samft.data.augmentation.underwater import AddedWater


def flip() -> Transform:
    """Mirror in both directions, independently."""
    A = albumentations()  # noqa: N806  (the name albumentations is known by)
    return AlbumentationsTransform([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])


def medical() -> Transform:
    """Small movements, contrast and noise; no mirroring, as left and right differ."""
    return Chain(
        [
            _moved_little(),
            Sometimes(BiasField(strength=0.12), share=0.15),
            Sometimes(LowResolution(lowest=0.5), share=0.2),
            _grey_levels(),
            Sometimes(GaussianNoise(), share=0.2),
        ]
    )


def mr() -> Transform:
    """Like `medical`, with the uneven brightness that coils cause in most images."""
    return Chain(
        [
            _moved_little(),
            Sometimes(BiasField(strength=0.25), share=0.5),
            Sometimes(LowResolution(lowest=0.5), share=0.25),
            _grey_levels(),
            Sometimes(GaussianNoise(), share=0.2),
        ]
    )


def microscopy() -> Transform:
    """Any orientation, contrast, few photons, out of focus."""
    A = albumentations()  # noqa: N806  (the name albumentations is known by)
    return Chain(
        [
            AlbumentationsTransform(
                [
                    A.D4(p=1.0),
                    A.Affine(scale=(0.8, 1.25), rotate=(-45, 45), p=0.4),
                    A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.5),
                    A.RandomGamma(gamma_limit=(70, 140), p=0.3),
                ]
            ),
            Sometimes(Defocus(), share=0.15),
            Sometimes(PhotonNoise(), share=0.25),
        ]
    )


def histology() -> Transform:
    """Any orientation, stains in other amounts, out of focus."""
    A = albumentations()  # noqa: N806  (the name albumentations is known by)
    return Chain(
        [
            AlbumentationsTransform(
                [
                    A.D4(p=1.0),
                    A.Affine(scale=(0.8, 1.25), rotate=(-45, 45), p=0.3),
                    A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.15, p=0.3),
                ]
            ),
            Sometimes(StainJitter(), share=0.8),
            Sometimes(Defocus(most=2.0), share=0.15),
        ]
    )


def underwater() -> Transform:
    """Left and right, small movements, more water, blur."""
    A = albumentations()  # noqa: N806  (the name albumentations is known by)
    return Chain(
        [
            Sometimes(AddedWater(), share=0.5),
            AlbumentationsTransform(
                [
                    A.HorizontalFlip(p=0.5),
                    A.Affine(
                        scale=(0.85, 1.2),
                        rotate=(-10, 10),
                        translate_percent=(-0.05, 0.05),
                        p=0.5,
                    ),
                    A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=0.5),
                    A.GaussianBlur(blur_limit=(3, 5), p=0.2),
                ]
            ),
        ]
    )


def _moved_little() -> Transform:
    A = albumentations()  # noqa: N806  (the name albumentations is known by)
    return AlbumentationsTransform(
        [A.Affine(scale=(0.85, 1.15), rotate=(-15, 15), translate_percent=(-0.06, 0.06), p=0.7)]
    )


def _grey_levels() -> Transform:
    A = albumentations()  # noqa: N806  (the name albumentations is known by)
    return AlbumentationsTransform(
        [
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.2, p=0.5),
            A.RandomGamma(gamma_limit=(75, 135), p=0.3),
        ]
    )


def lsj(side: int, settings: AugmentationSettings) -> Transform:
    """Any scale, on the side of the model's input."""
    return LargeScaleJitter(side, low=settings.lsj_low, high=settings.lsj_high)


def foreground_crop(side: int, settings: AugmentationSettings) -> Transform:
    """Windows around objects."""
    return ForegroundCrop(
        side,
        by=settings.crop_by,
        factor=settings.crop_factor,
        window=settings.crop_side,
        share=settings.crop_share,
    )


DOMAINS: Final[dict[str, Callable[[], Transform]]] = {
    "flip": flip,
    "medical": medical,
    "microscopy": microscopy,
    "underwater": underwater,
    "mr": mr,
    "histology": histology,
}
"""What may happen to images of a kind."""
SCALES: Final[dict[str, Callable[[int, AugmentationSettings], Transform]]] = {
    "lsj": lsj,
    "foreground_crop": foreground_crop,
}
"""At which size objects are seen; given the side of the model's input."""
COLOUR: Final = ("histology", "underwater")
"""Presets that need red, green and blue."""
