"""The two halves of SAM as other programs call them: one tensor in for each name.

Names, shapes and the meaning of every tensor are those of the official decoder export, and of the
encoder that desktop tools feed, so that a file can take the place of the official one.

Source: the official repository, `scripts/export_onnx_model.py` and `utils/onnx.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samft.models.image_encoder import Attention
from samft.models.prompt_encoder import EncodedPrompts
from samft.models.sam import Sam
from samft.types import PADDING


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """Sizes that a program has built in, whatever the model's are.

    Args:
        side: Longest side of the frame in which it gives points; `None` for the model's.
        mask_side: Side of the mask logits that it gives and takes; `None` for the model's.
        embedding: (D, h, w) of the embeddings that it passes on; `None` for the model's. Smaller
            ones travel in the first values of such a tensor.
    """

    side: int | None = None
    mask_side: int | None = None
    embedding: tuple[int, int, int] | None = None


@contextmanager
def exportable(sam: Sam) -> Iterator[None]:
    """Let the attention of the encoder be computed by operators that every runtime has.

    `eager` because runtimes keep all logits anyway: the channels that `sdpa` adds to avoid an
    additive mask would only cost them arithmetic.
    """
    layers = [module for module in sam.modules() if isinstance(module, Attention)]
    before = [layer.variant for layer in layers]
    try:
        for layer in layers:
            layer.variant = "eager"
        yield
    finally:
        for layer, variant in zip(layers, before, strict=True):
            layer.variant = variant


class EncoderGraph(nn.Module):
    """Normalise, pad and encode one image that was resized already.

    Args:
        sam: The model.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, input_image: Tensor) -> Tensor:
        """Return (1, D, h, w) for `input_image` (H, W, C) float32, 0 to 255, H and W at most S."""
        pixels = self.sam.normalize(input_image.permute(2, 0, 1)[None])
        for axis in (2, 3):
            # Not F.pad: runtimes would cut an image that is too large, instead of refusing it.
            missing = list(pixels.shape)
            missing[axis] = self.sam.image_size - pixels.shape[axis]
            pixels = torch.cat([pixels, pixels.new_zeros(missing)], dim=axis)
        embeddings: Tensor = self.sam.image_encoder(pixels)
        return embeddings.contiguous()


class DecoderGraph(nn.Module):
    """Answer one prompt about one image.

    Args:
        sam: The model.
        single_mask: Return the one mask that suits the number of points, instead of all four.
        client: Sizes of the program that will call it.
    """

    def __init__(
        self, sam: Sam, *, single_mask: bool = False, client: Client | None = None
    ) -> None:
        super().__init__()
        self.sam = sam
        self.single_mask = single_mask
        self.client = client or Client()
        grid = sam.config.grid_size
        self.shape = (1, sam.config.embed_dim, grid, grid)
        self.register_buffer("_position", sam.prompt_encoder.image_position(), persistent=False)

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            image_embeddings: (1, D, h, w) float32.
            point_coords: (1, N, 2) float32 `(x, y)`, resized frame.
            point_labels: (1, N) float32: 1 object, 0 background, 2 and 3 the corners of a box, -1
                padding.
            mask_input: (1, 1, S / 4, S / 4) float32 logits of an earlier answer.
            has_mask_input: (1,) float32, whether they count: 0 or 1.
            orig_im_size: (2,) float32 (height, width) of the original image.

        Returns:
            masks: (1, M, height, width) float32 logits, original frame; M is 4, or 1.
            iou_predictions: (1, M) float32.
            low_res_masks: (1, M, S / 4, S / 4) float32 logits, padded input frame.
        """
        low, iou = self._decode(
            image_embeddings.flatten()[: self._numel].view(self.shape),
            self._tokens(point_coords * self._to_input, point_labels),
            self._dense(mask_input, has_mask_input),
        )
        if self.single_mask:
            low, iou = _chosen(low, iou, point_coords.shape[1])
        masks = _to_original(low, orig_im_size, side=self.sam.image_size)
        return masks, iou, _resized(low, self.client.mask_side or low.shape[-1])

    @property
    def _numel(self) -> int:
        return self.shape[1] * self.shape[2] * self.shape[3]

    @property
    def _to_input(self) -> float:
        """Factor from the client's frame to the model's."""
        return self.sam.image_size / (self.client.side or self.sam.image_size)

    def _tokens(self, points: Tensor, labels: Tensor) -> Tensor:
        """Return (1, N, D): a box is two points here, unlike in `PromptEncoder`."""
        encoder = self.sam.prompt_encoder
        code = encoder.pe_layer((points + 0.5) / self.sam.image_size)
        kinds = labels[..., None]
        for number, embedding in enumerate(encoder.point_embeddings):
            code = code + (kinds == number) * cast(nn.Embedding, embedding).weight
        return torch.where(kinds == PADDING, encoder.not_a_point_embed.weight, code)

    def _dense(self, logits: Tensor, has_logits: Tensor) -> Tensor:
        encoder = self.sam.prompt_encoder
        with_mask = encoder.mask_downscaling(_resized(logits, 4 * self.shape[2])).flatten(1, 2)
        return torch.where(has_logits[:, None, None] > 0, with_mask, encoder.no_mask_embed.weight)

    def _decode(self, embeddings: Tensor, tokens: Tensor, dense: Tensor) -> tuple[Tensor, Tensor]:
        output = self.sam.mask_decoder(
            embeddings,
            EncodedPrompts(tokens=tokens, key_mask=None, dense=dense),
            image_index=torch.zeros(1, dtype=torch.int64),
            image_position=self._position,
            multimask=None,
        )
        return output.logits, output.iou


class CroppedDecoderGraph(nn.Module):
    """One mask in 8 bits, cut to its box, as CVAT's browser plugin wants it.

    Args:
        decoder: With a single mask.

    Source: cvat-ai/cvat, pull request 6019, and `cvat-ui/plugins/sam`.
    """

    def __init__(self, decoder: DecoderGraph) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        image_embeddings: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
        orig_im_size: Tensor,
    ) -> tuple[Tensor, ...]:
        """Decode; see `DecoderGraph.forward`.

        Returns:
            masks: (1, 1, h, w) uint8, 0 and 255, the part inside the box; all of an empty mask.
            iou_predictions: (1, 1) float32.
            low_res_masks: As those of the decoder.
            xtl, ytl, xbr, ybr: () int64, first and last column and row of the box.
        """
        masks, iou, low = self.decoder(
            image_embeddings, point_coords, point_labels, mask_input, has_mask_input, orig_im_size
        )
        found = masks[0, 0] > 0
        columns, (left, right) = _span(found.any(dim=0))
        rows, (top, bottom) = _span(found.any(dim=1))
        cut = found.to(torch.uint8).mul(255).index_select(0, rows).index_select(1, columns)
        return cut[None, None], iou, low, left, top, right, bottom


def _span(holds: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return all positions from the first to the last that is True, and these two."""
    numbers = holds.to(torch.int64)
    first = numbers.argmax()
    last = holds.shape[0] - 1 - numbers.flip(0).argmax()
    places = torch.arange(holds.shape[0])
    return torch.nonzero((places >= first) & (places <= last))[:, 0], (first, last)


def _chosen(low: Tensor, iou: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """Return the mask for clear prompts where there are many points, else the best of the others.

    Source: the official `SamOnnxModel.select_masks`; a click comes with a padding point.
    """
    clear = torch.zeros_like(iou)
    clear[:, 0] = 1000.0
    best = (iou + (num_points - 2.5) * clear).argmax(dim=1)
    return low[:, best], iou[:, best]


def _resized(logits: Tensor, side: int) -> Tensor:
    if logits.shape[-1] == side:
        return logits
    return F.interpolate(logits, (side, side), mode="bilinear", align_corners=False)


def _to_original(low: Tensor, size: Tensor, *, side: int) -> Tensor:
    """Return logits (1, M, height, width), see `samft.data.geometry.logits_to_original`.

    Sizes are values here, not shapes, and so are worked out again.
    """
    inner = torch.floor(size * (side / size.max()) + 0.5).to(torch.int64).clamp(min=1)
    (height, width), (inner_height, inner_width) = _numbers(size.to(torch.int64)), _numbers(inner)
    _require(inner_height <= side)
    _require(inner_width <= side)
    full = _resized(low, side).narrow(2, 0, inner_height).narrow(3, 0, inner_width)
    return F.interpolate(full, (height, width), mode="bilinear", align_corners=False)


def _numbers(size: Tensor) -> tuple[int, int]:
    """Return two values as sizes, and tell the exporter that they are some."""
    height, width = cast(int, size[0].item()), cast(int, size[1].item())
    _require(height >= 1)
    _require(width >= 1)
    return height, width


def _require(condition: bool) -> None:
    """Tell the exporter what holds for sizes that it cannot know."""
    torch._check(condition)  # type: ignore[no-untyped-call]  # torch has no type for it
