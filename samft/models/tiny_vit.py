"""The hierarchical image encoder of MobileSAM: a convolutional stem, then windowed attention.

The names of parameters and buffers are MobileSAM's. There is no table of positions: offsets within
a window have learned biases, and the size of the input is free.

Source: Wu et al. 2022, arXiv:2207.10666 (TinyViT); Zhang et al. 2023, arXiv:2306.14289 (MobileSAM,
    which keeps the resolution in the last merge).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn

from samft.models.config import SamConfig, TinyVitEncoder
from samft.models.image_encoder import Neck
from samft.models.recompute import is_recomputed, run_block
from samft.models.tiny_vit_blocks import ConvNorm, MBConv, Merging, TinyVitBlock


class TinyVit(nn.Module):
    """Turn normalised images into one embedding per cell.

    Args:
        config: The numbers of the architecture, with a `TinyVitEncoder`.
        drop_path: Rate of stochastic depth at the last block; earlier blocks get linearly less.
        checkpoint_blocks: Blocks, counted from 0 over all stages, whose activations are computed
            again in the backward pass: all, none, or those from `first` to `last`, both included.
    """

    def __init__(
        self,
        config: SamConfig,
        *,
        drop_path: float = 0.0,
        checkpoint_blocks: bool | tuple[int, int] = False,
    ) -> None:
        super().__init__()
        encoder = config.encoder
        assert isinstance(encoder, TinyVitEncoder)  # the registry chooses the class by the config
        self.patch_embed = Stem(encoder.dims[0])
        self.layers = nn.ModuleList(_stages(encoder, drop_path, checkpoint_blocks))
        if encoder.num_classes:
            # The head of the pre-training is part of MobileSAM's files. Nothing reads it, and
            # distributed training would wait for its gradients for ever.
            self.norm_head = nn.LayerNorm(encoder.dims[-1]).requires_grad_(requires_grad=False)
            self.head = nn.Linear(encoder.dims[-1], encoder.num_classes)
            self.head.requires_grad_(requires_grad=False)
        self.neck = Neck(encoder.dims[-1], config.embed_dim)

    def forward(self, x: Tensor, *, start: int | None = None, stop: int | None = None) -> Tensor:
        """Encode images, at once or in two parts.

        `encoder(encoder(images, stop=k), start=k)` is `encoder(images)` to the bit, for every
        number k of blocks from 0 to all. Blocks are counted over all stages; the merge after the
        last block of a stage belongs to that block.

        Args:
            x: (B, 3, S, S) float images, normalised; with `start`, tokens (B, h, w, C).
            start: The block that the tokens go into; `None` to begin with images.
            stop: The block to stop before; `None` to go on to the embeddings.

        Returns:
            (B, D, h, w) float embeddings; channels-last in memory. With `stop`, tokens
            (B, h, w, C).
        """
        if start is None:
            x = self.patch_embed(x.contiguous(memory_format=torch.channels_last))
        else:
            x = x.permute(0, 3, 1, 2)
        for stage, begin, end in self._parts(start, stop):
            x = stage(x, start=begin, stop=end)
        tokens = x.permute(0, 2, 3, 1)
        if stop is not None:
            return tokens
        embeddings: Tensor = self.neck(tokens)
        return embeddings.permute(0, 3, 1, 2)

    def tokens_shape(self, height: int, width: int, *, stop: int) -> tuple[int, int, int]:
        """Return (h, w, C) of what `forward` gives of an image when it stops before a block.

        Args:
            height: Of the image, pixels.
            width: Of the image, pixels.
            stop: The block, counted from 0 over all stages.
        """
        passed: list[nn.Module] = [self.patch_embed]
        for stage, _, end in self._parts(0, stop):
            if end == len(stage.blocks) and stage.downsample is not None:
                passed.append(stage.downsample)
        steps = [step for part in passed for step in part.modules() if isinstance(step, nn.Conv2d)]
        for step in steps:
            height, width = -(-height // step.stride[0]), -(-width // step.stride[1])
        return height, width, steps[-1].out_channels

    def _parts(self, start: int | None, stop: int | None) -> Iterator[tuple[Stage, int, int]]:
        """Yield the stages that blocks `start` to before `stop` are in, and which of theirs."""
        first, past = 0, start or 0
        for stage in cast(Iterable[Stage], self.layers):
            depth = len(stage.blocks)
            begin, end = max(past - first, 0), depth if stop is None else min(stop - first, depth)
            if begin < end:
                yield stage, begin, end
            first += depth


def _stages(
    encoder: TinyVitEncoder, drop_path: float, checkpoint_blocks: bool | tuple[int, int]
) -> list[Stage]:
    last = sum(encoder.depths) - 1
    ends = list(accumulate(encoder.depths))
    stages = []
    for stage, (end, depth) in enumerate(zip(ends, encoder.depths, strict=True)):
        indices = range(end - depth, end)
        blocks = [_block(encoder, stage, drop_path * index / max(1, last)) for index in indices]
        merging = None
        if stage + 1 < len(encoder.depths):
            merging = Merging(*encoder.dims[stage : stage + 2], stride=encoder.strides[stage])
        checkpointed = [is_recomputed(index, checkpoint_blocks) for index in indices]
        stages.append(Stage(blocks, downsample=merging, checkpointed=checkpointed))
    return stages


def _block(encoder: TinyVitEncoder, stage: int, rate: float) -> nn.Module:
    if stage == 0:
        return MBConv(encoder.dims[0], drop_path=rate)
    return TinyVitBlock(
        encoder.dims[stage],
        num_heads=encoder.heads[stage],
        window_size=encoder.windows[stage],
        drop_path=rate,
    )


class Stage(nn.Module):
    """Blocks of one width, then a merge to the next stage's.

    Args:
        blocks: The blocks.
        downsample: The merge; `None` in the last stage.
        checkpointed: For each block, whether its activations are computed again in backward.
    """

    def __init__(
        self, blocks: list[nn.Module], *, downsample: Merging | None, checkpointed: list[bool]
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.checkpointed = checkpointed

    def forward(self, x: Tensor, *, start: int = 0, stop: int | None = None) -> Tensor:
        """Return (B, C', h', w') for `x` (B, C, h, w).

        Args:
            x: The map.
            start: The first block to run.
            stop: The block to stop before; the merge follows the last one.
        """
        blocks = list(zip(self.blocks, self.checkpointed, strict=True))
        for block, checkpointed in blocks[start:stop]:
            x = run_block(block, x, again=checkpointed)
        is_whole = stop is None or stop == len(blocks)
        return self.downsample(x) if is_whole and self.downsample is not None else x


class Stem(nn.Module):
    """Two 3 x 3 convolutions of stride 2: a quarter of the input size.

    Args:
        dim: Channels out.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(
            ConvNorm(3, dim // 2, kernel_size=3, stride=2),
            nn.GELU(),
            ConvNorm(dim // 2, dim, kernel_size=3, stride=2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, C, S / 4, S / 4) for `images` (B, 3, S, S)."""
        result: Tensor = self.seq(images)
        return result
