"""Random weights for a SAM that is trained from scratch."""

from __future__ import annotations

from torch import nn

from samft.models.image_encoder import ImageEncoder
from samft.models.sam import Sam
from samft.models.transformer import CrossAttention

_STD = 0.02
_TIED_GAIN = 2.0


def initialise_from_scratch(sam: Sam) -> None:
    """Set all weights of `sam` to random values from which training starts well.

    - The encoder follows ViT practice: truncated normal with standard deviation 0.02 for linear
      layers and for the position embedding (the official code leaves that one at zero, which
      waits for gradients to tell positions apart); relative position tables stay at zero. In
      TinyViT the convolutions keep torch's default and the batch norms start at one, but for the
      last of each MBConv block: at zero, it lets the block start as its residual path.
    - In the decoder's cross-attentions between tokens and image the query and key projections
      start equal and large. Points and image cells share one position code, so a token then
      looks at the place it names from the first step; started independently, small models stay
      with empty masks.

    Args:
        sam: The model, changed in place.
    """
    if isinstance(sam.image_encoder, ImageEncoder):
        nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=_STD)
    for module in sam.image_encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=_STD)
            nn.init.zeros_(module.bias)
    for name, module in sam.mask_decoder.named_modules():
        if isinstance(module, CrossAttention) and "self_attn" not in name:
            nn.init.xavier_uniform_(module.q_proj.weight, gain=_TIED_GAIN)
            module.k_proj.weight.data.copy_(module.q_proj.weight.data)
            nn.init.zeros_(module.q_proj.bias)
            nn.init.zeros_(module.k_proj.bias)
