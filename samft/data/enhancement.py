"""Colours and contrast of underwater photographs, corrected alike in training and prediction."""

from __future__ import annotations

from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from samft.errors import ConfigError

Enhancement = Literal["none", "white_balance", "clahe", "white_balance_clahe"]
"""What is done to an image before a model sees it, in training as in prediction."""

_NORM: Final = 6
_GAINS: Final = (0.5, 3.0)
_CLIP: Final = 2.0
_TILES: Final = (8, 8)
_WEIGHTS: Final = (0.299, 0.587, 0.114)  # of ITU-R BT.601: how bright a colour looks
_LUMINANCE_FULL: Final = 100.0  # of Lab, white


def enhance(image: NDArray[Any], enhancement: Enhancement) -> NDArray[Any]:
    """Return a corrected image; the same pixels always give the same result.

    Args:
        image: (C, H, W) uint8 or float32, 0 to 255; RGB where C is 3. It is not changed.
        enhancement: What to do. Only RGB has colours to balance: images of other numbers of
            channels, and grey ones, keep theirs.

    Returns:
        An image of the same shape and type.
    """
    if enhancement in ("white_balance", "white_balance_clahe"):
        image = white_balance(image)
    if enhancement in ("clahe", "white_balance_clahe"):
        image = clahe(image)
    return image


def check_enhancement(enhancement: Enhancement, num_channels: int) -> None:
    """Refuse to balance the colours of images that have none.

    Args:
        enhancement: What is to be done.
        num_channels: Channels of the images.

    Raises:
        ConfigError: if the images are not RGB.
    """
    if enhancement.startswith("white_balance") and num_channels != 3:
        raise ConfigError(
            "white balance is for RGB images",
            where="data.enhancement",
            found=f"{enhancement}, with images of {num_channels} channels",
            expected="none or clahe",
        )


def white_balance(image: NDArray[Any]) -> NDArray[Any]:
    """Take the colour of the water out of a photograph.

    What water swallowed most of, red and in coastal water blue, is first filled up from green in
    proportion to what is missing: gains alone would turn the noise that is left of it into colour.
    Then each channel is scaled so that a high mean of all is grey. The brightness of the image as a
    whole stays, and no channel is scaled by more than a factor of 3.

    Args:
        image: (C, H, W) uint8 or float32, 0 to 255.

    Source: Ancuti et al. 2018, "Color Balance and Fusion for Underwater Image Enhancement", IEEE
        TIP 27(1), equations 4 and 5, with their factor of 1; Finlayson and Trezzi 2004, "Shades of
        Gray and Colour Constancy", for the mean of sixth powers.
    """
    if image.shape[0] != 3 or _is_grey(image):
        return image
    red, green, blue = image.astype(np.float32) / np.float32(255)
    means = red.mean(), green.mean(), blue.mean()
    filled = [
        plane + max(means[1] - mean, np.float32(0)) * (1 - plane) * green
        for plane, mean in ((red, means[0]), (blue, means[2]))
    ]
    planes = [filled[0], green, filled[1]]
    norms = np.array([_high_mean(plane) for plane in planes])
    gains = np.clip(norms.mean() / np.maximum(norms, 1e-4), *_GAINS)
    before = float(np.dot(_WEIGHTS, means))
    after = float(np.dot(_WEIGHTS, gains * [plane.mean() for plane in planes]))
    scale = 255 * before / max(after, 1e-6)
    balanced = np.stack(
        [plane * np.float32(g * scale) for plane, g in zip(planes, gains, strict=True)]
    )
    return _like(balanced, image)


def clahe(image: NDArray[Any]) -> NDArray[Any]:
    """Spread the contrast of every region, limited so that noise does not take over.

    Of RGB images the lightness alone is changed (L of CIE Lab); of others, each channel.

    Args:
        image: (C, H, W) uint8 or float32, 0 to 255.

    Source: Zuiderveld 1994, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV;
        8 x 8 tiles and a limit of 2 are what underwater enhancement mostly takes.
    """
    if image.shape[0] != 3:
        return np.stack([_equalised(plane) for plane in image])
    if _is_grey(image):
        return np.repeat(_equalised(image[0])[None], 3, axis=0)
    pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    if image.dtype == np.uint8:
        lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
        lab[..., 0] = _equalised(lab[..., 0])
        return np.ascontiguousarray(np.moveaxis(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), -1, 0))
    lab = cv2.cvtColor(pixels / np.float32(255), cv2.COLOR_RGB2LAB)
    factor = np.float32(255 / _LUMINANCE_FULL)
    lab[..., 0] = _equalised(lab[..., 0] * factor) / factor
    values = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB) * np.float32(255)
    return _like(np.moveaxis(values, -1, 0), image)


def _equalised(plane: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) uint8 or float32, 0 to 255, equalised.

    Floats are equalised as whole levels and keep their distance to these: with the 65536 levels
    that OpenCV would count in 16 bits, hardly any pixel shares its level with another, and the
    limit of contrast means something else.
    """
    method = cv2.createCLAHE(clipLimit=_CLIP, tileGridSize=_TILES)
    if plane.dtype == np.uint8:
        return np.asarray(method.apply(np.ascontiguousarray(plane)))
    clipped = np.clip(plane, 0, 255)
    levels = np.rint(clipped)
    equalised = method.apply(levels.astype(np.uint8))
    return np.asarray(np.clip(equalised + (clipped - levels), 0, 255), np.float32)


def _high_mean(plane: NDArray[np.float32]) -> float:
    cubed = plane * plane * plane  # squared once more: a sixth power without `pow`
    return float((cubed * cubed).mean(dtype=np.float64) ** (1 / _NORM))


def _is_grey(image: NDArray[Any]) -> bool:
    return np.array_equal(image[0], image[1]) and np.array_equal(image[1], image[2])


def _like(values: NDArray[np.float32], image: NDArray[Any]) -> NDArray[Any]:
    """Return values clipped to 0..255 in the type of `image`, rounded where that is whole."""
    clipped = np.clip(values, 0, 255)
    if image.dtype == np.uint8:
        np.rint(clipped, out=clipped)
    return np.ascontiguousarray(clipped.astype(image.dtype))
