"""The two-way transformer of the mask decoder: tokens and image attend to each other.

Source: Kirillov et al. 2023, arXiv:2304.02643, section 3 and appendix A "Lightweight mask decoder".
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from samft.models.config import SamConfig
from samft.models.matmul import Linear

_DOWNSAMPLE = 2  # cross-attention works at half the width


class TwoWayTransformer(nn.Module):
    """Update prompt and output tokens and the image embedding together.

    Args:
        config: The numbers of the architecture.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim, heads = config.embed_dim, config.decoder_heads
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, num_heads=heads, mlp_dim=config.decoder_mlp_dim, is_first=index == 0)
            for index in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = CrossAttention(dim, heads, inner_dim=dim // _DOWNSAMPLE)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, *, image_position: Tensor, key_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Run all blocks.

        Args:
            tokens: (P, T, D) output tokens and prompt tokens; also their own position code.
            image: (P, h * w, D) image embedding plus dense prompt.
            image_position: (h * w, D) position code of the image embedding.
            key_mask: (P, 1, 1, T) bool, True where a token may be attended to, or `None`.

        Returns:
            tokens: (P, T, D).
            image: (P, h * w, D).
        """
        position = tokens
        for block in self.layers:
            tokens, image = block(
                tokens,
                image,
                token_position=position,
                image_position=image_position,
                key_mask=key_mask,
            )
        update = self.final_attn_token_to_image(tokens + position, image + image_position, image)
        return self.norm_final_attn(tokens + update), image


class TwoWayBlock(nn.Module):
    """Self-attention, tokens to image, MLP, image to tokens.

    Args:
        dim: Width of tokens and image.
        num_heads: Attention heads.
        mlp_dim: Hidden width of the MLP.
        is_first: The first block's self-attention has neither position code nor residual path.
    """

    def __init__(self, dim: int, *, num_heads: int, mlp_dim: int, is_first: bool) -> None:
        super().__init__()
        inner_dim = dim // _DOWNSAMPLE
        self.is_first = is_first
        self.self_attn = CrossAttention(dim, num_heads, inner_dim=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = CrossAttention(dim, num_heads, inner_dim=inner_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = TokenMlp(dim, mlp_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = CrossAttention(dim, num_heads, inner_dim=inner_dim)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        *,
        token_position: Tensor,
        image_position: Tensor,
        key_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the updated tokens (P, T, D) and image (P, h * w, D)."""
        tokens = self.norm1(self._self_attention(tokens, token_position, key_mask))
        placed_image = image + image_position
        update = self.cross_attn_token_to_image(tokens + token_position, placed_image, image)
        tokens = self.norm2(tokens + update)
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = self.cross_attn_image_to_token(
            placed_image, tokens + token_position, tokens, key_mask=key_mask
        )
        return tokens, self.norm4(image + update)

    def _self_attention(self, tokens: Tensor, position: Tensor, key_mask: Tensor | None) -> Tensor:
        if self.is_first:
            result: Tensor = self.self_attn(tokens, tokens, tokens, key_mask=key_mask)
            return result
        placed = tokens + position
        update: Tensor = self.self_attn(placed, placed, tokens, key_mask=key_mask)
        return tokens + update


class CrossAttention(nn.Module):
    """Multi-head attention with separate projections and an inner width.

    Args:
        dim: Width of input and output.
        num_heads: Attention heads.
        inner_dim: Width after the projections; a multiple of `num_heads`.
    """

    def __init__(self, dim: int, num_heads: int, *, inner_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = Linear(dim, inner_dim)
        self.k_proj = Linear(dim, inner_dim)
        self.v_proj = Linear(dim, inner_dim)
        self.out_proj = Linear(inner_dim, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, *, key_mask: Tensor | None = None) -> Tensor:
        """Attend from `q` (P, Q, D) to `k`, `v` (P, K, D); returns (P, Q, D)."""
        attended = F.scaled_dot_product_attention(
            self._split(self.q_proj(q)),
            self._split(self.k_proj(k)),
            self._split(self.v_proj(v)),
            attn_mask=key_mask,
        )
        result: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, x.shape[2] // self.num_heads).transpose(1, 2)


class TokenMlp(nn.Module):
    """Two linear layers with a ReLU between them.

    Args:
        dim: Width of input and output.
        hidden_dim: Width in between.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.lin1 = Linear(dim, hidden_dim)
        self.lin2 = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) for `x` (..., D)."""
        result: Tensor = self.lin2(F.relu(self.lin1(x)))
        return result
