"""The image encoder: a plain vision transformer with windowed and a few global blocks.

Tensors are channels-last, (B, h, w, C), from the patch embedding to the end of the neck.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A; Li et al. 2022 (ViTDet),
    arXiv:2203.16527.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.models.attention import Variant, decomposed_attention
from samft.models.config import SamConfig, VitEncoder
from samft.models.layers import DropPath
from samft.models.matmul import Linear, linear
from samft.models.pieces import by_rows
from samft.models.recompute import is_recomputed, run_block

_NORM_EPS = 1e-6
_MLP_RATIO = 4


class ImageEncoder(nn.Module):
    """Turn normalised images into one embedding per patch.

    Args:
        config: The numbers of the architecture, with a `VitEncoder`.
        drop_path: Rate of stochastic depth at the last block; earlier blocks get linearly less.
        checkpoint_blocks: Blocks whose activations are computed again in the backward pass instead
            of being kept: all, none, or those from `first` to `last`, both included, counted from
            0.
    """

    def __init__(
        self,
        config: SamConfig,
        *,
        drop_path: float = 0.0,
        checkpoint_blocks: bool | tuple[int, int] = False,
    ) -> None:
        super().__init__()
        encoder, grid = config.encoder, config.grid_size
        assert isinstance(encoder, VitEncoder)  # the registry chooses the class by the config
        depth, dim = encoder.depth, encoder.dim
        self.checkpoint_blocks = checkpoint_blocks
        self.patch_embed = PatchEmbedding(dim, config.patch_size)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, dim))
        self.blocks = nn.ModuleList(
            Block(
                dim,
                num_heads=encoder.heads,
                grid_size=grid,
                window_size=0 if index in encoder.global_blocks else encoder.window_size,
                drop_path=drop_path * index / max(1, depth - 1),
            )
            for index in range(depth)
        )
        self.neck = Neck(dim, config.embed_dim)

    def forward(self, x: Tensor, *, start: int | None = None, stop: int | None = None) -> Tensor:
        """Encode images, at once or in two parts.

        `encoder(encoder(images, stop=k), start=k)` is `encoder(images)` to the bit, for every
        number k of blocks from 0 to all.

        Args:
            x: (B, 3, S, S) float images, normalised, or of less height or width, which then has the
                positions it would have in the whole; with `start`, tokens (B, h, w, C).
            start: The block that the tokens go into; `None` to begin with images.
            stop: The block to stop before; `None` to go on to the embeddings.

        Returns:
            (B, D, h, w) float embeddings; channels-last in memory. With `stop`, tokens
            (B, h, w, C).
        """
        if start is None:
            x = self.patch_embed(x)
            x = x + self.pos_embed[:, : x.shape[1], : x.shape[2]]
        for index, block in list(enumerate(self.blocks))[start:stop]:
            x = run_block(block, x, again=is_recomputed(index, self.checkpoint_blocks))
        if stop is not None:
            return x
        embeddings: Tensor = self.neck(x)
        return embeddings.permute(0, 3, 1, 2)

    def tokens_shape(self, height: int, width: int, *, stop: int) -> tuple[int, int, int]:
        """Return (h, w, C) of what `forward` gives of an image when it stops before a block.

        Args:
            height: Of the image, pixels.
            width: Of the image, pixels.
            stop: The block; the shape is the same before all of them.
        """
        del stop
        projection = self.patch_embed.proj
        rows, columns = projection.stride
        return height // rows, width // columns, projection.out_channels


class PatchEmbedding(nn.Module):
    """Project each patch of pixels to one token.

    Args:
        dim: Width of the tokens.
        patch_size: Side of a patch in pixels.
    """

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, h, w, C) for `images` (B, 3, S, S)."""
        tokens: Tensor = self.proj(images.contiguous(memory_format=torch.channels_last))
        return tokens.permute(0, 2, 3, 1)


class Block(nn.Module):
    """Attention and an MLP, each behind a layer norm and beside a residual path.

    Args:
        dim: Width of the tokens.
        num_heads: Attention heads.
        grid_size: Side of the token grid.
        window_size: Side of an attention window in tokens; 0 for global attention.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        grid_size: int,
        window_size: int = 0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.attn = Attention(
            dim, num_heads=num_heads, grid_size=grid_size, window_size=window_size
        )
        self.norm2 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.mlp = Mlp(dim, dim * _MLP_RATIO)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, h, w, C) for `x` (B, h, w, C)."""
        x = x + self.drop_path(self._attend(x))
        parameters = (*self.norm2.parameters(), *self.mlp.parameters())
        update = by_rows(self._transform, x, parameters=parameters)
        result: Tensor = x + self.drop_path(update)
        return result

    def _attend(self, x: Tensor) -> Tensor:
        # Rows of windows are independent. With gradients it stays one piece: running the attention
        # again in the backward pass would cost more than it saves.
        rows = self.attn.window_size
        if rows and not torch.is_grad_enabled():
            return by_rows(self._attend_piece, x, num_rows=rows)
        return self._attend_piece(x)

    def _attend_piece(self, x: Tensor) -> Tensor:
        result: Tensor = self.attn(self.norm1(x))
        return result

    def _transform(self, x: Tensor) -> Tensor:
        result: Tensor = self.mlp(self.norm2(x))
        return result


class Mlp(nn.Module):
    """Two linear layers with a GELU between them.

    Args:
        dim: Width of input and output.
        hidden_dim: Width in between.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = Linear(dim, hidden_dim)
        self.lin2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., C) for `x` (..., C)."""
        result: Tensor = self.lin2(F.gelu(self.lin1(x)))
        return result


class Attention(nn.Module):
    """Self-attention with decomposed relative positions, over the whole grid or in windows.

    Args:
        dim: Width of the tokens.
        num_heads: Attention heads.
        grid_size: Side of the token grid.
        window_size: Side of an attention window in tokens; 0 for global attention.
    """

    variant: Variant = "auto"

    def __init__(self, dim: int, *, num_heads: int, grid_size: int, window_size: int = 0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window_size = window_size
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        distances = 2 * (window_size or grid_size) - 1
        self.rel_pos_h = nn.Parameter(torch.zeros(distances, dim // num_heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(distances, dim // num_heads))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, h, w, C) for `x` (B, h, w, C)."""
        qkv: Tensor = self.qkv(x)
        # SAM pads windows before this projection, so what is attended to in the padding is the
        # projection's answer to a token of zeros: its bias, with LoRA too. Reading it leaves the
        # weight a single use, which the 8-bit export needs; a foreign wrapper may not show it.
        bias = getattr(self.qkv, "bias", None)
        zeros = x.new_zeros(1, x.shape[-1])
        padding: Tensor = self.qkv(zeros) if bias is None else bias[None].to(qkv.dtype)
        height, width = x.shape[1], x.shape[2]
        attended = decomposed_attention(
            qkv,
            padding,
            rel_pos_h=self.rel_pos_h,
            rel_pos_w=self.rel_pos_w,
            num_heads=self.num_heads,
            window_size=(self.window_size or height, self.window_size or width),
            variant=self.variant,
        )
        result: Tensor = self.proj(attended)
        return result


class Neck(nn.Sequential):
    """Reduce the tokens to the decoder's width: 1 x 1 and 3 x 3 convolution, each with a norm.

    Args:
        dim: Width of the encoder.
        embed_dim: Width of the embedding.
    """

    def __init__(self, dim: int, embed_dim: int) -> None:
        super().__init__(
            nn.Conv2d(dim, embed_dim, kernel_size=1, bias=False),
            nn.LayerNorm(embed_dim, eps=_NORM_EPS),
            nn.Conv2d(embed_dim, embed_dim, kernel_size=3, padding=1, bias=False),
            nn.LayerNorm(embed_dim, eps=_NORM_EPS),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return (B, h, w, D) for `input` (B, h, w, C)."""
        x = self[1](linear(input, cast(nn.Conv2d, self[0]).weight.flatten(1)))
        x = self[2](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        result: Tensor = self[3](x)
        return result
