"""Images as people hold them, brought to the form the model reads."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from samft.errors import ConfigError, did_you_mean

ImageLike = NDArray[Any] | Image.Image | Tensor
"""An (H, W, 3) uint8 array, a PIL image of 8 bits, or a (3, H, W) uint8 or float tensor; for models
of N channels an (H, W, N) array or (N, H, W) tensor, each uint8 or float."""

IMAGE_FORMATS: Final = ("BGR", "RGB")
"""Orders of the colour channels; OpenCV reads BGR."""

_DEEP_MODES = ("I", "F")  # PIL's names of everything beyond 8 bits start with these


def image_tensor(image: ImageLike, *, image_format: str = "RGB", num_channels: int = 3) -> Tensor:
    """Return an image as (C, H, W) uint8 or float32 on the CPU, 0 to 255, original frame.

    Args:
        image: The image. Arrays are uint8; tensors uint8, or float with values 0 to 255.
        image_format: "RGB" or "BGR", the channel order of arrays and tensors. PIL images know
            their own.
        num_channels: C, channels that the model takes. With other than 3, arrays may be float too,
            and there is no colour to order.

    Raises:
        ConfigError: if shape, type or values are those of something else.
    """
    if image_format not in IMAGE_FORMATS:
        raise ConfigError(
            "the image format is unknown",
            found=repr(image_format),
            fix=did_you_mean(str(image_format), IMAGE_FORMATS),
        )
    if num_channels != 3:
        return _from_channels(image, image_format, num_channels)
    if isinstance(image, Image.Image):
        return _from_array(_from_pil(image))
    if not isinstance(image, np.ndarray | Tensor):
        raise ConfigError(
            "this is no image",
            found=type(image).__name__,
            expected="a numpy array, a PIL image or a torch tensor",
        )
    pixels = _from_tensor(image) if isinstance(image, Tensor) else _from_array(image)
    return pixels if image_format == "RGB" else pixels.flip(0)


def _from_channels(image: ImageLike, image_format: str, num_channels: int) -> Tensor:
    """Return an image whose channels are no colours."""
    is_array = isinstance(image, np.ndarray)
    shape = () if isinstance(image, Image.Image) else tuple(image.shape)
    fits = len(shape) == 3 and shape[2 if is_array else 0] == num_channels
    if isinstance(image, Image.Image) or not fits or image_format != "RGB":
        raise ConfigError(
            "the image does not have the channels of the model",
            found=f"{type(image).__name__} of shape {shape}, format {image_format}",
            expected=f"an array (height, width, {num_channels}) or "
            f"a tensor ({num_channels}, height, width)",
        )
    if isinstance(image, Tensor):
        return _from_tensor(image, num_channels)
    # A copy: torch must not see read-only memory or negative strides.
    return _from_tensor(torch.from_numpy(image.transpose(2, 0, 1).copy()), num_channels)


def _from_pil(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith(_DEEP_MODES):
        raise ConfigError(
            "the image has more than 8 bits per channel",
            found=f"PIL mode {image.mode}",
            expected="an image of 8 bits",
            fix="scale its values to 0..255 and make it an RGB image",
        )
    return np.array(image.convert("RGB"))


def _from_array(image: NDArray[Any]) -> Tensor:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or image.dtype != np.uint8:
        raise ConfigError(
            "the array is no RGB image",
            found=f"shape {image.shape}, {image.dtype}",
            expected="shape (height, width, 3), uint8, values 0 to 255",
            fix="scale to 0..255, repeat a grey channel three times, drop an alpha channel",
        )
    # A copy: torch must not see read-only memory or negative strides.
    return torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous()


def _from_tensor(image: Tensor, num_channels: int = 3) -> Tensor:
    right_type = image.dtype == torch.uint8 or image.is_floating_point()
    if image.ndim != 3 or image.shape[0] != num_channels or 0 in image.shape or not right_type:
        raise ConfigError(
            "the tensor is no RGB image"
            if num_channels == 3
            else "the values are on another scale",
            found=f"shape {tuple(image.shape)}, {image.dtype}",
            expected=f"shape ({num_channels}, height, width), uint8 or float with values 0 to 255",
        )
    pixels = image.detach().cpu()
    if pixels.dtype == torch.uint8:
        return pixels.contiguous()
    pixels = pixels.float().contiguous()
    low, high = pixels.aminmax()
    # Not "high > 1": an image that is black all over is one.
    if not (low >= 0 and high <= 255) or 0 < high <= 1:
        raise ConfigError(
            "the image's values are on another scale",
            found=f"{float(low):g} to {float(high):g}",
            expected="0 to 255",
            fix="multiply an image of 0..1 by 255; do not normalise it, the model does",
        )
    return pixels
