"""MobileSAM's encoder written from its description: functions of a state dict, window by window.

Slow on purpose, and on another path than samft: maps stay channels-first, the windows of each image
are visited one by one, a head is a slice, normalisation is spelled out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.models.config import TinyVitEncoder


class ReferenceTinyVit:
    """The encoder as a function of its weights.

    Args:
        state: The encoder's own names, such as `patch_embed.seq.0.c.weight`; the running statistics
            in it are replaced while training.
        encoder: The numbers of the architecture.
        training: Whether batch norms use the batch and count it.
    """

    def __init__(
        self, state: dict[str, Tensor], encoder: TinyVitEncoder, *, training: bool
    ) -> None:
        self.state = state
        self.encoder = encoder
        self.training = training

    def __call__(self, images: Tensor) -> Tensor:
        """Return (B, D, h, w) for normalised `images` (B, 3, S, S)."""
        x = gelu(self.conv_norm("patch_embed.seq.0", images, stride=2))
        x = self.conv_norm("patch_embed.seq.2", x, stride=2)
        for stage, depth in enumerate(self.encoder.depths):
            for index in range(depth):
                name = f"layers.{stage}.blocks.{index}"
                x = self.block(name, x, stage) if stage else self.mbconv(name, x)
            if stage + 1 < len(self.encoder.depths):
                stride = self.encoder.strides[stage]
                x = self.three_convs(f"layers.{stage}.downsample", x, stride=stride)
        return self.neck(x)

    def mbconv(self, name: str, x: Tensor) -> Tensor:
        return gelu(self.three_convs(name, x) + x)

    def three_convs(self, name: str, x: Tensor, *, stride: int = 1) -> Tensor:
        x = gelu(self.conv_norm(f"{name}.conv1", x))
        x = gelu(self.conv_norm(f"{name}.conv2", x, stride=stride))
        return self.conv_norm(f"{name}.conv3", x)

    def block(self, name: str, x: Tensor, stage: int) -> Tensor:
        heads, side = self.encoder.heads[stage], self.encoder.windows[stage]
        attended = [self.windows(f"{name}.attn", image, heads, side) for image in x]
        x = x + torch.stack(attended)
        x = self.conv_norm(f"{name}.local_conv", x)
        tokens = x.flatten(2).transpose(1, 2)
        hidden = gelu(self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.mlp.norm", tokens)))
        update = self.linear(f"{name}.mlp.fc2", hidden)
        return x + update.transpose(1, 2).view_as(x)

    def windows(self, name: str, image: Tensor, heads: int, side: int) -> Tensor:
        """Return (C, h, w) for an `image` (C, h, w), its bottom and right filled up with zeros."""
        channels, height, width = image.shape
        rows, columns = math.ceil(height / side), math.ceil(width / side)
        padded = image.new_zeros(channels, rows * side, columns * side)
        padded[:, :height, :width] = image
        bands = []
        for top in range(0, rows * side, side):
            cells = [
                self.attention(name, padded[:, top : top + side, left : left + side], heads)
                for left in range(0, columns * side, side)
            ]
            bands.append(torch.cat(cells, dim=2))
        return torch.cat(bands, dim=1)[:, :height, :width]

    def attention(self, name: str, window: Tensor, heads: int) -> Tensor:
        channels, side, _ = window.shape
        tokens = self.layer_norm(f"{name}.norm", window.flatten(1).T)
        per_head = self.linear(f"{name}.qkv", tokens).chunk(heads, dim=1)
        answers = []
        for head, slab in enumerate(per_head):
            q, k, v = slab.chunk(3, dim=1)
            table = self.state[f"{name}.attention_biases"][head]
            scores = q @ k.T / math.sqrt(channels // heads) + offset_biases(table, side)
            weights = scores.exp() / scores.exp().sum(1, keepdim=True)
            answers.append(weights @ v)
        return self.linear(f"{name}.proj", torch.cat(answers, dim=1)).T.view_as(window)

    def conv_norm(self, name: str, x: Tensor, *, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.c.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
        return self.batch_norm(f"{name}.bn", x)

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.training:
            batch = x.transpose(0, 1).flatten(1)
            count = batch.shape[1]
            old_mean, old_var = mean, var
            mean = batch.mean(1)
            var = ((batch - mean[:, None]) ** 2).mean(1)
            unbiased = var.detach() * count / (count - 1)
            self.state[f"{name}.running_mean"] = 0.9 * old_mean + 0.1 * mean.detach()
            self.state[f"{name}.running_var"] = 0.9 * old_var + 0.1 * unbiased
            self.state[f"{name}.num_batches_tracked"] = (
                self.state[f"{name}.num_batches_tracked"] + 1
            )
        scale = self.state[f"{name}.weight"] / (var + 1e-5).sqrt()
        shift = self.state[f"{name}.bias"] - mean * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def layer_norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        """Normalise over the last dimension."""
        centred = x - x.mean(-1, keepdim=True)
        normal = centred / ((centred**2).mean(-1, keepdim=True) + eps).sqrt()
        return normal * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def neck(self, x: Tensor) -> Tensor:
        for conv, norm in ((0, 1), (2, 3)):
            weight = self.state[f"neck.{conv}.weight"]
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
            x = self.layer_norm(f"neck.{norm}", x.movedim(1, -1), eps=1e-6).movedim(-1, 1)
        return x


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def offset_biases(table: Tensor, side: int) -> Tensor:
    """Return (T, T): the entry of `table` for each pair of cells, by rows of absolute offsets.

    From the first cell of a window every offset is met once, row by row, so numbering offsets as
    they come is the same.
    """
    cells = [(row, column) for row in range(side) for column in range(side)]
    rows = [
        torch.stack([table[abs(y - v) * side + abs(x - u)] for v, u in cells]) for y, x in cells
    ]
    return torch.stack(rows)
