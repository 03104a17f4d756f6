"""The prompt encoder: points, boxes and mask logits in, tokens and a dense map out.

Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A "Prompt encoder".
"""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.errors import PromptError
from samft.models.config import SamConfig
from samft.models.layers import downsample_2x2
from samft.models.matmul import linear
from samft.types import ABSENT, NEGATIVE, PADDING, POSITIVE, PromptBatch

_MASK_CHANNELS = 16
_NORM_EPS = 1e-6


class EncodedPrompts(NamedTuple):
    """What the mask decoder reads.

    Args:
        tokens: (P, T, D) one token per point, box corner and padding slot; T may be 0.
        key_mask: (P, T) bool, True where a token counts; `None` when all of them do.
        dense: (P, h * w, D) to be added to the image embedding, or (1, D) when no prompt has a
            mask.
    """

    tokens: Tensor
    key_mask: Tensor | None
    dense: Tensor


class PromptEncoder(nn.Module):
    """Encode the prompts of a batch.

    Args:
        config: The numbers of the architecture.
    """

    def __init__(self, config: SamConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.image_size = config.image_size
        self.grid_size = config.grid_size
        self.pe_layer = FourierPosition(dim // 2)
        # negative point, positive point, first and second corner of a box
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = MaskDownscaling(dim)
        self.no_mask_embed = nn.Embedding(1, dim)

    def forward(
        self,
        prompts: PromptBatch,
        *,
        grid_size: tuple[int, int] | None = None,
        origin: tuple[int, int] = (0, 0),
    ) -> EncodedPrompts:
        """Encode `prompts`.

        The slots of a row are its points, SAM's padding token, and the two corners of its box;
        slots that a row does not use are marked in `key_mask`.

        Args:
            prompts: P prompts.
            grid_size: (h, w) of the image embedding in cells; `None` for that of the whole input.
            origin: (x, y) of the embedding in the input frame, pixels; the prompts are relative to
                it.

        Raises:
            PromptError: if the fields have shapes that do not fit together.
        """
        height, width = grid_size or (self.grid_size, self.grid_size)
        check_prompts(prompts, mask_size=(4 * height, 4 * width))
        tokens, used = self._sparse(prompts, origin)
        key_mask = None
        if used and (prompts.points is not None or prompts.has_box is not None):
            key_mask = torch.cat(used, dim=1)
        no_tokens = self.no_mask_embed.weight.new_zeros(prompts.num_prompts, 0, self._dim)
        return EncodedPrompts(
            tokens=torch.cat(tokens, dim=1) if tokens else no_tokens,
            key_mask=key_mask,
            dense=self._dense(prompts),
        )

    def image_position(
        self, *, grid_size: tuple[int, int] | None = None, origin: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Return the position code of every cell of the image embedding, (h * w, D).

        Args:
            grid_size: See `forward`.
            origin: See `forward`.
        """
        device = self.not_a_point_embed.weight.device
        rows, columns = (
            (torch.arange(count, device=device) + 0.5) / self.grid_size
            for count in grid_size or (self.grid_size, self.grid_size)
        )
        y, x = torch.meshgrid(
            rows + origin[1] / self.image_size,
            columns + origin[0] / self.image_size,
            indexing="ij",
        )
        code: Tensor = self.pe_layer(torch.stack((x, y), dim=-1).flatten(0, 1))
        return code.to(self._dtype)

    @property
    def _dim(self) -> int:
        return self.no_mask_embed.embedding_dim

    @property
    def _dtype(self) -> torch.dtype:
        return self.no_mask_embed.weight.dtype

    def _sparse(
        self, prompts: PromptBatch, origin: tuple[int, int]
    ) -> tuple[list[Tensor], list[Tensor]]:
        tokens, used = [], []
        if prompts.points is not None and prompts.labels is not None:
            tokens.append(self._points(prompts.points, prompts.labels, origin))
            used.append(prompts.labels != ABSENT)
            if prompts.boxes is None or prompts.has_box is not None:
                tokens.append(self.not_a_point_embed.weight.expand(prompts.num_prompts, 1, -1))
                used.append(self._needs_padding(prompts.labels, prompts.has_box))
        if prompts.boxes is not None:
            tokens.append(self._boxes(prompts.boxes, origin))
            has_box = prompts.has_box
            if has_box is None:
                has_box = prompts.image_index.new_ones(prompts.num_prompts, dtype=torch.bool)
            used.append(has_box[:, None].expand(-1, 2))
        return tokens, used

    @staticmethod
    def _needs_padding(labels: Tensor, has_box: Tensor | None) -> Tensor:
        """Return (P, 1): rows that have points and no box end with SAM's padding token."""
        needs = (labels != ABSENT).any(dim=1, keepdim=True)
        return needs if has_box is None else needs & ~has_box[:, None]

    def _points(self, points: Tensor, labels: Tensor, origin: tuple[int, int]) -> Tensor:
        kind = labels[..., None]
        negative, positive = self._type(0), self._type(1)
        embedding = self._position(points, origin)
        embedding = embedding + (kind == POSITIVE) * positive + (kind == NEGATIVE) * negative
        return torch.where(kind == PADDING, self.not_a_point_embed.weight, embedding)

    def _boxes(self, boxes: Tensor, origin: tuple[int, int]) -> Tensor:
        corners = torch.cat((self._type(2), self._type(3)))
        return self._position(boxes.view(-1, 2, 2), origin) + corners

    def _type(self, index: int) -> Tensor:
        return cast(nn.Embedding, self.point_embeddings[index]).weight

    def _position(self, points: Tensor, origin: tuple[int, int]) -> Tensor:
        pixels = points.float() + 0.5
        if origin != (0, 0):  # a tensor made of numbers makes a GPU wait
            pixels = points.float() + (0.5 + points.new_tensor(origin, dtype=torch.float32))
        code: Tensor = self.pe_layer(pixels / self.image_size)
        return code.to(self._dtype)

    def _dense(self, prompts: PromptBatch) -> Tensor:
        without = self.no_mask_embed.weight
        if prompts.mask_logits is None:
            return without
        dense: Tensor = self.mask_downscaling(prompts.mask_logits.to(self._dtype)).flatten(1, 2)
        if prompts.has_mask is None:
            return dense
        return torch.where(prompts.has_mask[:, None, None], dense, without)


class FourierPosition(nn.Module):
    """Code a position by sines and cosines of fixed random frequencies.

    The frequencies are a buffer: they come with the weights and are never trained.

    Args:
        num_frequencies: Half the width of the code.

    Source: Tancik et al. 2020, arXiv:2006.10739, section 6.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_frequencies: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_frequencies))

    def forward(self, positions: Tensor) -> Tensor:
        """Return (..., 2 * num_frequencies) float32 for `positions` (..., 2), `(x, y)`, 0 to 1."""
        matrix = self.positional_encoding_gaussian_matrix.float()
        centred = 2 * positions - 1
        # Written out because autocast would round a matrix product to half precision.
        angle = centred[..., :1] * matrix[0] + centred[..., 1:] * matrix[1]
        angle = 2 * math.pi * angle
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class MaskDownscaling(nn.Sequential):
    """Bring mask logits to the size and width of the image embedding.

    Args:
        dim: Width of the image embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(
            nn.Conv2d(1, _MASK_CHANNELS // 4, kernel_size=2, stride=2),
            nn.LayerNorm(_MASK_CHANNELS // 4, eps=_NORM_EPS),
            nn.GELU(),
            nn.Conv2d(_MASK_CHANNELS // 4, _MASK_CHANNELS, kernel_size=2, stride=2),
            nn.LayerNorm(_MASK_CHANNELS, eps=_NORM_EPS),
            nn.GELU(),
            nn.Conv2d(_MASK_CHANNELS, dim, kernel_size=1),
        )

    def forward(self, input: Tensor) -> Tensor:
        """Return (P, h, w, D) for logits `input` (P, 1, 4 h, 4 w)."""
        first, second, last = (cast(nn.Conv2d, self[index]) for index in (0, 3, 6))
        x = F.gelu(self[1](downsample_2x2(input.permute(0, 2, 3, 1), first)))
        x = F.gelu(self[4](downsample_2x2(x, second)))
        return linear(x, last.weight.flatten(1), last.bias)


def check_prompts(prompts: PromptBatch, *, mask_size: tuple[int, int]) -> None:
    """Check that the fields of `prompts` fit together.

    Args:
        prompts: The prompts.
        mask_size: (height, width) of mask logits, four for each cell of the embedding.

    Raises:
        PromptError: at the first field that does not fit.
    """
    count = prompts.num_prompts
    slots = 0 if prompts.points is None else prompts.points.shape[1]
    expected = {
        "points": (count, slots, 2),
        "labels": (count, slots),
        "boxes": (count, 4),
        "has_box": (count,),
        "mask_logits": (count, 1, *mask_size),
        "has_mask": (count,),
    }
    for name, shape in expected.items():
        value = getattr(prompts, name)
        if value is not None and tuple(value.shape) != shape:
            raise PromptError(
                f"prompt field {name!r} has the wrong shape",
                found=tuple(value.shape),
                expected=shape,
            )
    if (prompts.points is None) != (prompts.labels is None):
        raise PromptError("points and labels must come together", fix="give both or neither")
