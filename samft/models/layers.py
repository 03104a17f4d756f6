"""Small layers that several parts of SAM share. Maps are channels-last: (..., h, w, C)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from samft.models.matmul import Linear, linear


class DropPath(nn.Module):
    """Drop whole residual branches per sample while training, and scale the others up.

    Args:
        rate: Probability that a sample's branch is dropped, 0 to below 1.

    Source: Huang et al. 2016, arXiv:1603.09382.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return `branch` (B, ...) with some samples set to zero."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        return branch * branch.new_empty(shape).bernoulli_(keep).div_(keep)


class ReluMlp(nn.Module):
    """Linear layers with ReLU between them: the heads on the decoder's output tokens.

    Args:
        widths: Width of the input, of every hidden layer and of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(before, after) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., widths[-1]) for `x` (..., widths[0])."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        result: Tensor = last(x)
        return result


def downsample_2x2(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 2 x 2, stride 2 convolution to channels-last maps as one matrix product.

    Args:
        x: (P, h, w, C), h and w even.
        conv: The layer that holds the parameters.

    Returns:
        (P, h / 2, w / 2, conv.out_channels).
    """
    count, height, width, channels = x.shape
    patches = x.reshape(count, height // 2, 2, width // 2, 2, channels).transpose(2, 3)
    return linear(patches.flatten(3), conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)


def upsample_2x2(x: Tensor, conv: nn.ConvTranspose2d) -> Tensor:
    """Apply a 2 x 2, stride 2 transposed convolution as one matrix product, unshuffled.

    Args:
        x: (..., C), one row per location.
        conv: The layer that holds the parameters.

    Returns:
        (..., 4, conv.out_channels): the four new pixels of each location, row by row.
    """
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    bias = None if conv.bias is None else conv.bias.repeat(4)
    return linear(x, weight, bias).view(*x.shape[:-1], 4, conv.out_channels)
