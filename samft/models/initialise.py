"""Random weights for a SAM that is trained from scratch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from samft.models.image_encoder import ImageEncoder
from samft.models.sam import Sam
from samft.models.transformer import CrossAttention

_STD = 0.02
_LOWEST = 1 / 8  # periods per unit: from one end of the frame to the other the sine only rises
_NEAR_GAIN, _SIDE_GAIN, _SELF_GAIN = 2.0, 2.5, 2.0
_TOKEN_SCALE = 0.2


@torch.no_grad()
def initialise_from_scratch(sam: Sam) -> None:
    """Set all weights of `sam` to random values from which training starts well.

    - The encoder follows ViT practice: truncated normal with standard deviation 0.02 for linear
      layers and for the position embedding (the official code leaves that one at zero, which
      waits for gradients to tell positions apart); relative position tables stay at zero. In
      TinyViT the convolutions keep torch's default and the batch norms start at one, but for the
      last of each MBConv block: at zero, it lets the block start as its residual path.
    - The position codes are waves along x and along y, from one eighth of a period per half image
      to as fine as the cells of the embedding can hold, spaced evenly on a log scale. (SAM draws
      directions and frequencies at random.) Sums of the sines of such a series are nearly
      constant on either side of a place, so that "right of this corner" is one product of codes.
    - In the decoder's attentions between tokens and image, queries and keys start as such products
      of codes. Tokens look at the image near their own place. Of the heads by which image cells
      look at the tokens, half ask on which side of the token's place the cell lies, half how near
      it is. Started independently, small models stay with empty masks for long, and take thousands
      of steps to learn where the inside of a box is.
    - Tokens start small against the position codes, and attend first to themselves.

    Args:
        sam: The model, changed in place.
    """
    _initialise_encoder(sam.image_encoder)
    _set_position_codes(sam)
    for name, module in sam.mask_decoder.named_modules():
        if not isinstance(module, CrossAttention):
            continue
        if "self_attn" in name:
            nn.init.xavier_uniform_(module.q_proj.weight, gain=_SELF_GAIN)
            module.k_proj.weight.copy_(module.q_proj.weight)
        else:
            _attend_by_place(module, sided="image_to_token" in name)
    encoder, decoder = sam.prompt_encoder, sam.mask_decoder
    for tokens in (
        *encoder.point_embeddings,
        encoder.not_a_point_embed,
        decoder.iou_token,
        decoder.mask_tokens,
    ):
        tokens.weight.mul_(_TOKEN_SCALE)


def _initialise_encoder(encoder: nn.Module) -> None:
    if isinstance(encoder, ImageEncoder):
        nn.init.trunc_normal_(encoder.pos_embed, std=_STD)
    for module in encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_STD)
            nn.init.zeros_(module.bias)


def _set_position_codes(sam: Sam) -> None:
    """Make every even wave run along x and every odd one along y."""
    waves = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    highest = max(sam.config.grid_size / 4, _LOWEST)  # two cells a period
    waves.zero_()
    for axis in range(2):
        count = waves[axis, axis::2].shape[0]
        waves[axis, axis::2] = torch.logspace(
            math.log2(_LOWEST), math.log2(highest), count, base=2.0
        )


def _attend_by_place(attention: CrossAttention, *, sided: bool) -> None:
    """Let each head compare some waves of the two position codes.

    A position code is D / 2 sines and then D / 2 cosines of the same waves. With sine and cosine of
    a wave at two places a and b, sin a sin b + cos a cos b = cos(a - b) is largest where the places
    agree, and sin a cos b - cos a sin b = sin(a - b) tells on which side of b the place a lies.

    Args:
        attention: Queries are the places a, keys the places b.
        sided: Whether half of the heads ask for the side, by turns along x and y.
    """
    inner, dim = attention.q_proj.weight.shape
    width = inner // attention.num_heads
    query, key = torch.zeros(2, inner, dim)
    for head in range(attention.num_heads):
        side = sided and head < attention.num_heads // 2
        waves = _waves(width // 2, dim // 2, axis=head % 2 if side else None, shift=head % 2)
        sine = head * width + 2 * torch.arange(len(waves))
        gain = _SIDE_GAIN if side else _NEAR_GAIN
        query[sine, waves] = query[sine + 1, waves + dim // 2] = gain
        if side:
            key[sine, waves + dim // 2], key[sine + 1, waves] = gain, -gain
        else:
            key[sine, waves] = key[sine + 1, waves + dim // 2] = gain
    for weight, start in ((attention.q_proj.weight, query), (attention.k_proj.weight, key)):
        weight.copy_(start.to(weight) + torch.randn_like(weight) * _STD)
    nn.init.zeros_(attention.q_proj.bias)
    nn.init.zeros_(attention.k_proj.bias)


def _waves(count: int, total: int, *, axis: int | None, shift: int) -> Tensor:
    """Return (count,) int64, waves spread evenly over the scale: of one axis, or half of each.

    Args:
        count: How many.
        total: D / 2, the waves there are; those along x have even numbers.
        axis: 0 for x, 1 for y, `None` for both.
        shift: 0 or 1; with 1 they lie half a step further, so that heads differ.
    """
    if axis is None:
        first = count // 2
        parts = [_waves(first, total, axis=0, shift=shift)]
        parts.append(_waves(count - first, total, axis=1, shift=shift))
        return torch.cat(parts)
    last = (total - axis + 1) // 2 - 1
    step = last / max(count - 0.5, 0.5)
    return ((torch.arange(count) + shift / 2) * step).round().long() * 2 + axis
