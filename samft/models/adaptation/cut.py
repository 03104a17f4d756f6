"""Where the image encoder divides: below, nothing is trained; above, something is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from samft.models.adaptation.parts import UNREAD, encoder_blocks
from samft.models.sam import Sam

_NECK: Final = "image_encoder.neck."
_NOT_THE_ENCODERS: Final = ("prompt_encoder.", "mask_decoder.", *UNREAD)


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderCut:
    """An image encoder in two parts, of which the lower gives the same for an image at all times.

    A cut lies between two blocks; in a TinyViT the merge after the last block of a stage belongs to
    that block.

    Args:
        sam: The model.
        stop: The first block of the upper part; the number of blocks if that is the neck alone,
            `None` if there is no upper part.
    """

    sam: Sam
    stop: int | None = None

    @classmethod
    def of(cls, sam: Sam) -> Self:
        """Return the highest cut below which no parameter is trained; 0 if there is none."""
        trained = [
            name
            for name, parameter in sam.named_parameters()
            if parameter.requires_grad and not name.startswith(_NOT_THE_ENCODERS)
        ]
        if not trained:
            return cls(sam=sam)
        blocks = encoder_blocks(sam)
        inside = [prefix for block in blocks for prefix in block.prefixes]
        if not all(name.startswith((*inside, _NECK)) for name in trained):
            return cls(sam=sam, stop=0)
        for index, block in enumerate(blocks):
            if any(name.startswith(block.prefixes) for name in trained):
                return cls(sam=sam, stop=index)
        return cls(sam=sam, stop=len(blocks))

    @property
    def shape(self) -> tuple[int, ...]:
        """What the lower part gives of one image: (h, w, C), or (D, h, w) for the whole encoder."""
        config = self.sam.config
        if self.stop is None:
            return config.embed_dim, config.grid_size, config.grid_size
        size = config.image_size
        return self.sam.image_encoder.tokens_shape(size, size, stop=self.stop)

    @torch.no_grad()
    def lower(self, images: Tensor, input_sizes: Tensor | None) -> Tensor:
        """Return the activations at the cut, (B, *shape), without a graph.

        Args:
            images: See `Sam.encode_image`.
            input_sizes: Likewise.
        """
        return self.sam.encode_image(images, input_sizes, stop=self.stop)

    def upper(self, activations: Tensor) -> Tensor:
        """Return the embeddings (B, D, h, w) of activations at the cut."""
        if self.stop is None:
            return activations
        embeddings: Tensor = self.sam.image_encoder(activations, start=self.stop)
        return embeddings

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and buffer that the lower part may read, by name.

        Whatever stands before the first block counts, even if it came to the model later.
        """
        above: tuple[str, ...] = _NOT_THE_ENCODERS
        if self.stop is not None:
            blocks = encoder_blocks(self.sam)[self.stop :]
            above = (*above, _NECK, *(prefix for block in blocks for prefix in block.prefixes))
        every = dict(self.sam.named_parameters()) | dict(self.sam.named_buffers())
        return {name: tensor for name, tensor in every.items() if not name.startswith(above)}
