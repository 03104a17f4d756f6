"""The whole model: images and prompts in, masks out, for batches with any number of prompts.

Source: Kirillov et al. 2023, arXiv:2304.02643.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samft.errors import ConfigError
from samft.models.channels import ChannelAdapter, ChannelSettings
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
MAX_IMAGE_SIZE = 16_384
"""Largest side of the input square, pixels; sixteen times that of SAM."""


class Sam(nn.Module):
    """The Segment Anything Model, trainable in batches; its state dict has the official keys.

    Args:
        config: The numbers of the architecture.
        drop_path: Rate of stochastic depth at the last encoder block, less in earlier ones.
        checkpoint_blocks: Encoder blocks that trade time for memory: all, none, or those from
            `first` to `last`, both included.
        channels: How images of other than three channels are mixed into three; `None` for RGB. The
            adapter is the child `channel_adapter`, beside the official keys.

    Raises:
        ConfigError: if `config.image_size` is not a multiple of `config.patch_size` or more than
            `MAX_IMAGE_SIZE`, or `channels` are out of range.
    """

    mask_threshold: float = 0.0
    trim_padding: bool = False
    """Whether those who encode images for this model cut the padding off that they have in common;
    see `samft.data.trimming`. The model takes both."""
    channel_adapter: ChannelAdapter | None
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: SamConfig,
        *,
        drop_path: float = 0.0,
        checkpoint_blocks: bool | tuple[int, int] = False,
        channels: ChannelSettings | None = None,
    ) -> None:
        super().__init__()
        side, step = config.image_size, config.patch_size
        if side % step or not 0 < side <= MAX_IMAGE_SIZE:
            raise ConfigError(
                "the input size must be a multiple of the patch size",
                where="image_size",
                found=side,
                expected=f"a multiple of {step}, at most {MAX_IMAGE_SIZE}",
            )
        self.config = config
        self.set_channels(channels)
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
        if self.channel_adapter is not None:
            self.channel_adapter.reset()

    def set_channels(self, channels: ChannelSettings | None) -> None:
        """Put an adapter for images of so many channels in front, or take it out with `None`.

        Raises:
            ConfigError: if the settings are out of range.
        """
        if channels is None:
            self.channel_adapter = None
            return
        channels.validate()
        self.channel_adapter = ChannelAdapter(channels)

    @property
    def channels(self) -> ChannelSettings | None:
        """How channels are mixed; `None` for RGB images as they are."""
        return None if self.channel_adapter is None else self.channel_adapter.settings

    @property
    def num_channels(self) -> int:
        """C, channels of the images that the model takes."""
        return 3 if self.channels is None else self.channels.count

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
            images: (B, C, height, width) uint8 or float, 0 to 255, input frame: RGB, or the
                channels that the adapter mixes.
            input_sizes: (B, 2) int64 (height, width) of each image before padding; `None` when
                nothing is padding.

        Returns:
            (B, 3, height, width) float.
        """
        if self.channel_adapter is not None:
            images = self.channel_adapter(images)
        pixels = ((images - self.pixel_mean) / self.pixel_std).to(self.pixel_mean.dtype)
        if input_sizes is None:
            return pixels
        rows, columns = (
            torch.arange(images.shape[axis - 2], device=images.device) < input_sizes[:, axis, None]
            for axis in (0, 1)
        )
        inside = rows[:, None, :, None] & columns[:, None, None, :]
        return pixels.masked_fill(~inside, 0.0)

    def encode_image(
        self, images: Tensor, input_sizes: Tensor | None = None, *, stop: int | None = None
    ) -> Tensor:
        """Encode images once; any number of prompts can be decoded from the result.

        Args:
            images: (B, C, S, S) uint8 or float, 0 to 255, RGB or the channels of the adapter, input
                frame. The longer side is S; the other may end where the images do, at a multiple of
                the patch size. Or, where `takes_windows`, (B, C, s, s), a window of the frame.
            input_sizes: (B, 2) int64 (height, width) of each image before padding; `None` when
                nothing is padding.
            stop: Block of the image encoder to stop before, which can go on from there; `None` for
                the embeddings.

        Returns:
            (B, D, h, w) float embeddings; with `stop`, tokens (B, h, w, C).

        Raises:
            ConfigError: if the images do not have the model's channels or input size.
        """
        expected = (self.num_channels, self.image_size, self.image_size)
        if images.ndim == 4 and images.shape[1] != self.num_channels:
            raise ConfigError(
                "images and model differ in channels",
                found=tuple(images.shape),
                expected=f"(B, {', '.join(map(str, expected))})",
                fix="set model.channels.count to the channels of the images, or choose among them",
            )
        if images.ndim != 4 or not self._is_input(images.shape[-2], images.shape[-1]):
            raise ConfigError(
                "images do not have the model's input size",
                found=tuple(images.shape),
                expected=f"(B, {', '.join(map(str, expected))})",
                fix="resize and pad the images, or build the model with another image_size",
            )
        encoded: Tensor = self.image_encoder(self.normalize(images, input_sizes), stop=stop)
        return encoded

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
        cell = self.config.patch_size
        expected = (self.config.embed_dim, self.config.grid_size, self.config.grid_size)
        fits = embeddings.ndim == 4 and embeddings.shape[1] == self.config.embed_dim
        height, width = embeddings.shape[-2], embeddings.shape[-1]
        if not fits or not self._is_input(height * cell, width * cell):
            raise ConfigError(
                "image embeddings do not fit the model",
                found=tuple(embeddings.shape),
                expected=f"(B, {', '.join(map(str, expected))})",
                fix="encode the images with this model, at this input size",
            )
        output: MaskOutput = self.mask_decoder(
            embeddings,
            self.prompt_encoder(prompts, grid_size=(height, width), origin=origin),
            image_index=prompts.image_index,
            image_position=self.prompt_encoder.image_position(
                grid_size=(height, width), origin=origin
            ),
            multimask=multimask,
        )
        return output

    def _is_input(self, height: int, width: int) -> bool:
        """Whether this is the input frame, trimmed or not, or a window that the encoder takes."""
        cell = self.config.patch_size
        whole_cells = height > 0 and width > 0 and height % cell == 0 and width % cell == 0
        longer = max(height, width)
        is_window = self.takes_windows and height == width and longer < self.image_size
        return whole_cells and (longer == self.image_size or is_window)

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
