"""The U-Net: pixels of 0 to 255 in, one logit per class and one for borders out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft._deps import require
from samft.errors import ConfigError
from samft.models.channels import MAX_CHANNELS

DEFAULT_FILTERS: Final = 32
_BOTTOM: Final = 8  # cells along the longer side of the coarsest map
_MOST_HALVINGS: Final = 6
_WIDEST: Final = 16  # times the first level's filters; 512 at 32, as in nnU-Net
_LIMITS: Final = {"num_channels": (1, MAX_CHANNELS), "image_size": (32, 8192), "filters": (4, 128)}
_MOST_CLASSES: Final = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetShape:
    """What decides the U-Net's architecture, as plain data.

    Args:
        num_channels: C, channels of the images.
        class_names: Classes of the data, in their order.
        image_size: S, the longer side of the images it sees, pixels.
        filters: Width of the first level; doubled at each level down to 16 times as many.

    Raises:
        ConfigError: if a value is out of range.
    """

    num_channels: int
    class_names: tuple[str, ...]
    image_size: int
    filters: int = DEFAULT_FILTERS

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not low <= value <= high:
                raise ConfigError(
                    "a U-Net cannot have this shape",
                    where=f"unet.{name}",
                    found=value,
                    expected=f"a whole number from {low} to {high}",
                )
        if not 1 <= len(self.class_names) <= _MOST_CLASSES:
            raise ConfigError(
                "a U-Net needs classes",
                where="unet.class_names",
                found=len(self.class_names),
                expected=f"1 to {_MOST_CLASSES} names",
            )

    @property
    def num_classes(self) -> int:
        """Classes, without the channel of borders."""
        return len(self.class_names)

    @property
    def halvings(self) -> int:
        """How often the network halves the image: until its longer side has about 8 cells."""
        fitting = (self.image_size // _BOTTOM).bit_length() - 1
        return max(2, min(_MOST_HALVINGS, fitting))

    @property
    def border_px(self) -> int:
        """Half the width of a border between touching objects, pixels of the input frame."""
        return max(2, self.image_size // 256)

    def to_dict(self) -> dict[str, Any]:  # Any: plain data
        """Return it as plain data."""
        return asdict(self) | {"class_names": list(self.class_names)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> UNetShape:  # Any: as read from a file
        """Take it from plain data.

        Raises:
            ConfigError: if a value is out of range.
            TypeError: if a name is missing or unknown.
        """
        names = values.get("class_names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                "a U-Net needs classes", where="unet.class_names", expected="a list of names"
            )
        return cls(**{**values, "class_names": tuple(names)})


class UNet(nn.Module):
    """nnU-Net's 2D network, with residual blocks, as MONAI has it (`DynUNet`).

    Of MONAI's U-Nets it is the one whose depth and widths follow the image size, and the one with
    the best record without tuning. Instance norm, because batches are small.

    Each class has a logit of its own, so that classes may overlap; a last one is for borders
    between touching objects of a class.

    Args:
        shape: See `UNetShape`.

    Raises:
        DependencyError: if MONAI is not installed.

    Source: Isensee et al. 2021, Nature Methods 18, "nnU-Net".
    """

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.body = _body(shape)

    def forward(self, images: Tensor, input_sizes: Tensor) -> Tensor:
        """Segment images.

        Args:
            images: (B, C, h, w) uint8 or float32, 0 to 255, padded right and bottom.
            input_sizes: (B, 2) int64, (height, width) of each without padding.

        Returns:
            Logits (B, classes + 1, h, w).

        Raises:
            ConfigError: if the images have other channels than those of its training.
        """
        if images.shape[1] != self.shape.num_channels:
            raise ConfigError(
                "the U-Net was trained on images of other channels",
                where="data.channels",
                found=images.shape[1],
                expected=self.shape.num_channels,
            )
        height, width = images.shape[-2:]
        cell = 2**self.shape.halvings
        pixels = standardise(images, input_sizes)
        padded = F.pad(pixels, (0, -width % cell, 0, -height % cell))
        logits: Tensor = self.body(padded)
        return logits[..., :height, :width]


def standardise(images: Tensor, input_sizes: Tensor) -> Tensor:
    """Give each channel of each image mean 0 and deviation 1; padding becomes 0.

    Dark and bright pictures of the same thing then look alike, as nnU-Net has it.

    Args:
        images: (B, C, h, w) of 0 to 255, padded right and bottom.
        input_sizes: (B, 2) int64, (height, width) without padding.

    Returns:
        (B, C, h, w) float32.
    """
    pixels = images.float()
    rows = torch.arange(images.shape[-2], device=images.device)
    columns = torch.arange(images.shape[-1], device=images.device)
    inside = rows[None, :, None] < input_sizes[:, 0, None, None]
    inside = (inside & (columns < input_sizes[:, 1, None, None]))[:, None]
    count = inside.sum(dim=(-2, -1), keepdim=True).clamp(min=1)
    mean = (pixels * inside).sum(dim=(-2, -1), keepdim=True) / count
    centred = (pixels - mean) * inside
    # One grey level at least: the noise of an empty picture is not to be blown up.
    deviation = (centred.square().sum(dim=(-2, -1), keepdim=True) / count).sqrt().clamp(min=1.0)
    return centred / deviation


def _body(shape: UNetShape) -> nn.Module:
    nets = require("monai.networks.nets", extra="baseline", purpose="train a U-Net")
    levels = shape.halvings + 1
    strides = [1, *[2] * shape.halvings]
    body: nn.Module = nets.DynUNet(
        spatial_dims=2,
        in_channels=shape.num_channels,
        out_channels=shape.num_classes + 1,
        kernel_size=[3] * levels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=[shape.filters * min(_WIDEST, 2**level) for level in range(levels)],
        norm_name=("INSTANCE", {"affine": True}),
        res_block=True,
    )
    return body
