"""The mask decoder: image embedding and prompts in, mask logits and predicted IoU out.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A "Lightweight mask decoder".
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.models.config import SamConfig
from samft.models.layers import ReluMlp, upsample_2x2
from samft.models.prompt_encoder import EncodedPrompts
from samft.models.transformer import TwoWayTransformer
from samft.types import MaskOutput

_NORM_EPS = 1e-6


class MaskDecoder(nn.Module):
    """Predict masks for every prompt.

    Args:
        config: The numbers of the architecture.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.num_masks = config.num_multimask + 1
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(self.num_masks, dim)
        self.output_upscaling = Upscaling(dim)
        self.output_hypernetworks_mlps = nn.ModuleList(
            ReluMlp(dim, dim, dim, dim // 8) for _ in range(self.num_masks)
        )
        self.iou_prediction_head = ReluMlp(dim, dim, dim, self.num_masks)

    def forward(
        self,
        embeddings: Tensor,
        prompts: EncodedPrompts,
        *,
        image_index: Tensor,
        image_position: Tensor,
        multimask: bool | None,
    ) -> MaskOutput:
        """Decode all prompts in one pass.

        Args:
            embeddings: (B, D, h, w) from the image encoder.
            prompts: From the prompt encoder.
            image_index: (P,) int64, the image of each prompt.
            image_position: (h * w, D) position code of the embedding's cells.
            multimask: The three masks of tokens 1 to 3, the one mask of token 0, or all four with
                `None`.
        """
        height, width = embeddings.shape[-2:]
        image = embeddings.flatten(2).mT.contiguous()[image_index] + prompts.dense
        tokens, image = self.transformer(
            self._tokens(prompts.tokens),
            image,
            image_position=image_position,
            key_mask=self._key_mask(prompts.key_mask),
        )
        chosen = _MASKS[multimask]
        upscaled = self.output_upscaling(image)
        logits = upscaled.flatten(1, 3) @ self._kernels(tokens)[:, chosen].mT
        return MaskOutput(
            logits=_shuffle(logits, height, width),
            iou=self.iou_prediction_head(tokens[:, 0])[:, chosen],
        )

    def _tokens(self, prompt_tokens: Tensor) -> Tensor:
        own = torch.cat((self.iou_token.weight, self.mask_tokens.weight))
        return torch.cat((own.expand(prompt_tokens.shape[0], -1, -1), prompt_tokens), dim=1)

    def _key_mask(self, key_mask: Tensor | None) -> Tensor | None:
        """Return (P, 1, 1, T): the decoder's own tokens always count."""
        if key_mask is None:
            return None
        own = key_mask.new_ones(key_mask.shape[0], 1 + self.num_masks)
        return torch.cat((own, key_mask), dim=1)[:, None, None]

    def _kernels(self, tokens: Tensor) -> Tensor:
        """Return (P, masks, D / 8), every mask's dot-product kernel.

        All of them are computed, whichever are chosen, so that every parameter has a gradient.
        """
        kernels = [
            mlp(tokens[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)
        ]
        return torch.stack(kernels, dim=1)


_MASKS = {True: slice(1, None), False: slice(0, 1), None: slice(None)}


class Upscaling(nn.Sequential):
    """Two transposed convolutions that bring the embedding to a quarter of the input size.

    Args:
        dim: Width of the image embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            nn.LayerNorm(dim // 4, eps=_NORM_EPS),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return (P, h * w, 4, 4, D / 8), the 4 x 4 pixels of each cell of `input` (P, h * w, D).

        The 2 x 2 pixels of the first step and within them those of the second, each row by row.
        They are left in this order because sorting finished masks moves far less memory.
        """
        x = F.gelu(self[1](upsample_2x2(input, cast(nn.ConvTranspose2d, self[0]))))
        return F.gelu(upsample_2x2(x, cast(nn.ConvTranspose2d, self[3])))


def _shuffle(logits: Tensor, height: int, width: int) -> Tensor:
    """Sort (P, h * w * 16, M) pixels in `Upscaling`'s order into (P, M, 4 h, 4 w)."""
    count, _, masks = logits.shape
    cells = logits.view(count, height, width, 2, 2, 2, 2, masks)
    return cells.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(count, masks, 4 * height, 4 * width)
