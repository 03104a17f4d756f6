"""The whole model: images and prompts in, masks out, for batches with any number of prompts.

Source: Kirillov et al. 2023, arXiv:2304.02643.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samft.errors import ConfigError
from samft.models.config import SamConfig, VitEncoder
from samft.models.image_encoder import ImageEncoder
from samft.models.mask_decoder import MaskDecoder
from samft.models.prompt_encoder import PromptEncoder
from samft.models.tiny_vit import TinyVit
from samft.models.tiny_vit_blocks import WindowAttention
from samft.types import MaskOutput, PromptBatch

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""ImageNet's mean of R, G, B on the scale 0 to 255."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""ImageNet's standard deviation of R, G, B on the scale 0 to 255."""


class Sam(nn.Module):
    """The Segment Anything Model, trainable in batches; its state dict has the official keys.

    Args:
        config: The numbers of the architecture.
        drop_path: Rate of stochastic depth at the last encoder block, less in earlier ones.
        checkpoint_blocks: Encoder blocks that trade time for memory: all, none, or those from
            `first` to `last`, both included.

    Raises:
        ConfigError: if `config.image_size` is not a multiple of `config.patch_size`.
    """

    mask_threshold: float = 0.0
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: SamConfig,
        *,
        drop_path: float = 0.0,
        checkpoint_blocks: bool | tuple[int, int] = False,
    ) -> None:
        super().__init__()
        if config.image_size % config.patch_size or config.image_size <= 0:
            raise ConfigError(
                "the input size must be a multiple of the patch size",
                where="image_size",
                found=config.image_size,
                expected=f"a multiple of {config.patch_size}",
            )
        self.config = config
        encoder = ImageEncoder if isinstance(config.encoder, VitEncoder) else TinyVit
        self.image_encoder: ImageEncoder | TinyVit = encoder(
            config, drop_path=drop_path, checkpoint_blocks=checkpoint_blocks
        )
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.register_buffer("pixel_mean", torch.empty(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.empty(3, 1, 1), persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Set the buffers that no checkpoint holds; needed after `to_empty`."""
        for buffer, values in ((self.pixel_mean, PIXEL_MEAN), (self.pixel_std, PIXEL_STD)):
            buffer.copy_(torch.tensor(values, device=buffer.device).view(3, 1, 1))
        for module in self.modules():
            if isinstance(module, WindowAttention):
                module.reset_constants()

    @property
    def image_size(self) -> int:
        """S, side of the padded input square in pixels."""
        return self.config.image_size

    @property
    def takes_windows(self) -> bool:
        """Whether the encoder can be given a square part of the input frame alone."""
        return isinstance(self.image_encoder, TinyVit)

    def normalize(self, images: Tensor, input_sizes: Tensor | None = None) -> Tensor:
        """Bring pixels to zero mean and unit variance; the padding becomes exactly 0.

        Args:
            images: (B, 3, S, S) uint8 or float, 0 to 255, RGB, input frame.
            input_sizes: (B, 2) int64 (height, width) of each image before padding; `None` when
                nothing is padding.

        Returns:
            (B, 3, S, S) float.
        """
        pixels = ((images - self.pixel_mean) / self.pixel_std).to(self.pixel_mean.dtype)
        if input_sizes is None:
            return pixels
        line = torch.arange(images.shape[-1], device=images.device)
        rows, columns = (line < input_sizes[:, :, None]).unbind(1)
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        return pixels.masked_fill(~inside, 0.0)

    def encode_image(self, images: Tensor, input_sizes: Tensor | None = None) -> Tensor:
        """Encode images once; any number of prompts can be decoded from the result.

        Args:
            images: (B, 3, S, S) uint8 or float, 0 to 255, RGB, input frame; or, where
                `takes_windows`, (B, 3, s, s), a window of it.
            input_sizes: (B, 2) int64 (height, width) of each image before padding; `None` when
                nothing is padding.

        Returns:
            (B, D, h, w) float embeddings.

        Raises:
            ConfigError: if the images do not have the model's input size.
        """
        expected = (3, self.image_size, self.image_size)
        if images.ndim != 4 or not self._is_input(tuple(images.shape[1:])):
            raise ConfigError(
                "images do not have the model's input size",
                found=tuple(images.shape),
                expected=f"(B, {', '.join(map(str, expected))})",
                fix="resize and pad the images, or build the model with another image_size",
            )
        embeddings: Tensor = self.image_encoder(self.normalize(images, input_sizes))
        return embeddings

    def decode(
        self,
        embeddings: Tensor,
        prompts: PromptBatch,
        *,
        multimask: bool | None,
        origin: tuple[int, int] = (0, 0),
    ) -> MaskOutput:
        """Predict the masks of all prompts in one pass.

        Args:
            embeddings: (B, D, h, w) from `encode_image`.
            prompts: P prompts over the B images; P may be 0.
            multimask: `True` for the three masks of an ambiguous prompt (tokens 1 to 3), `False`
                for the one mask of a clear prompt (token 0), `None` for all four.
            origin: (x, y) of the embedded window in the input frame, pixels; prompts and masks are
                relative to it.

        Returns:
            Logits (P, M, 4 h, 4 w) and predicted IoU (P, M).

        Raises:
            ConfigError: if the embeddings do not have the model's shape.
            PromptError: if the fields of the prompts do not fit together.
        """
        cell, grid = self.config.patch_size, embeddings.shape[-1]
        expected = (self.config.embed_dim, self.config.grid_size, self.config.grid_size)
        fits = embeddings.ndim == 4 and embeddings.shape[1] == self.config.embed_dim
        if not fits or not self._is_input((3, embeddings.shape[-2] * cell, grid * cell)):
            raise ConfigError(
                "image embeddings do not fit the model",
                found=tuple(embeddings.shape),
                expected=f"(B, {', '.join(map(str, expected))})",
                fix="encode the images with this model, at this input size",
            )
        output: MaskOutput = self.mask_decoder(
            embeddings,
            self.prompt_encoder(prompts, grid_size=grid, origin=origin),
            image_index=prompts.image_index,
            image_position=self.prompt_encoder.image_position(grid_size=grid, origin=origin),
            multimask=multimask,
        )
        return output

    def _is_input(self, shape: tuple[int, ...]) -> bool:
        """Whether (3, height, width) is the input frame or a window that the encoder takes."""
        if shape == (3, self.image_size, self.image_size):
            return True
        side = shape[-1]
        is_window = 0 < side < self.image_size and side % self.config.patch_size == 0
        return self.takes_windows and is_window and shape == (3, side, side)

    def forward(
        self,
        images: Tensor,
        input_sizes: Tensor | None,
        prompts: PromptBatch,
        *,
        multimask: bool | None,
    ) -> MaskOutput:
        """Encode images and decode prompts; see `encode_image` and `decode`."""
        return self.decode(self.encode_image(images, input_sizes), prompts, multimask=multimask)
