"""From any number of channels to the three that SAM reads."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.errors import ConfigError
from samft.settings import Settings

ADAPTER: Final = "channel_adapter."
"""What the keys of an adapter start with in a state dict."""
MAX_CHANNELS: Final = 1024

_WHITE = 255.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelSettings(Settings):
    """How images of `count` channels become the three that SAM reads.

    Each of the three is a weighted sum of all channels and a constant. It starts (and with `fixed`
    stays) as `mix` or `matrix` says.

    Args:
        count: N, channels of the images. What the data delivers is set with `data.channels`.
        mode: `learned`: the weights are trained, through the image encoder even where that is
            frozen. `fixed`: they stay, so that embeddings can be cached.
        mix: `first`: the first three channels as they are, so that training starts from what SAM
            makes of them (one channel is repeated, the third of two is their mean); `mean`: the
            mean of all, grey; `false_colour`: hues spread evenly over the channels.
        matrix: 3 rows (red, green, blue) of N weights, in place of `mix`.
    """

    section: ClassVar[str] = "channels"

    count: int = 3
    mode: Literal["learned", "fixed"] = "learned"
    mix: Literal["first", "mean", "false_colour"] = "first"
    matrix: list[list[float]] | None = None

    def weights(self) -> Tensor:
        """Return the weights to start with, (3, N) float32."""
        if self.matrix is not None:
            return torch.tensor(self.matrix, dtype=torch.float32)
        return _MIXES[self.mix](self.count)

    def _check_type(self, name: str, hint: Any) -> None:  # Any: see Settings
        if name != "matrix":
            Settings._check_type(self, name, hint)
        elif self.matrix is not None and not _is_matrix(self.matrix):
            raise self._wrong_type(name, self.matrix, "3 rows of finite numbers, or nothing")

    def _check_ranges(self) -> None:
        self._require("count", low=1, high=MAX_CHANNELS)
        rows = self.matrix
        if rows is not None and [len(row) for row in rows] != [self.count] * 3:
            raise ConfigError(
                "the matrix does not fit the number of channels",
                where=f"{self.section}.matrix",
                found=f"rows of {', '.join(str(len(row)) for row in rows)} numbers",
                expected=f"3 rows of {self.count}",
            )


class ChannelAdapter(nn.Module):
    """Mix N channels into three: a 1 x 1 convolution in front of everything else.

    Its constants are shares of white, so that they learn as fast as its weights.

    Args:
        settings: How many channels, and what the mix starts as.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__()
        self.settings = settings
        weight, bias = torch.empty(3, settings.count, 1, 1), torch.empty(3)
        if settings.mode == "learned":
            self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        else:
            self.register_buffer("weight", weight)
            self.register_buffer("bias", bias)
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Set weights and constants to what the settings say."""
        self.weight.copy_(self.settings.weights()[:, :, None, None])
        self.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 3, h, w) float for `images` (B, N, h, w), uint8 or float, 0 to 255."""
        # Not in half precision: it has fewer grey levels than the images.
        with torch.autocast(images.device.type, enabled=False):
            pixels = images.to(self.weight.dtype)
            return F.conv2d(pixels, self.weight, _WHITE * self.bias)


def channels_in(state: Mapping[str, Tensor]) -> ChannelSettings | None:
    """Return the settings of the adapter that is in a state dict; `None` if there is none.

    Its values are those of the state dict, not the settings' own.

    Args:
        state: Official keys, and those of an adapter; names and shapes may be anything.
    """
    weight, bias = state.get(f"{ADAPTER}weight"), state.get(f"{ADAPTER}bias")
    if weight is None or bias is None or weight.ndim != 4 or tuple(bias.shape) != (3,):
        return None
    count = weight.shape[1]
    if tuple(weight.shape) != (3, count, 1, 1) or not 1 <= count <= MAX_CHANNELS:
        return None
    return ChannelSettings(count=count)


def _is_matrix(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and all(_is_number(item) for item in row) for row in value
    )


def _is_number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(float(value))
    )


def _first(count: int) -> Tensor:
    if count == 1:
        return torch.ones(3, 1)
    if count == 2:
        return torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    return torch.eye(3, count)


def _mean(count: int) -> Tensor:
    return torch.full((3, count), 1 / count)


def _false_colour(count: int) -> Tensor:
    """Give channel k the hue k / N; each row sums to 1, so that the result stays in 0 to 255."""
    hues = [colorsys.hsv_to_rgb(index / count, 1.0, 1.0) for index in range(count)]
    colours = torch.tensor(hues, dtype=torch.float32).mT
    return colours / colours.sum(dim=1, keepdim=True).clamp(min=1.0)


_MIXES = {"first": _first, "mean": _mean, "false_colour": _false_colour}
