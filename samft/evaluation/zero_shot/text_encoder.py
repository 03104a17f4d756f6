"""What the text protocol needs of an encoder, and how its embeddings reach the mask decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from samft.errors import ConfigError
from samft.models.prompt_encoder import EncodedPrompts
from samft.models.sam import Sam
from samft.types import MaskOutput, PromptBatch


@runtime_checkable
class TextEncoder(Protocol):
    """Puts texts and crops of images into one space, and that into SAM's prompt tokens.

    CLIP and its relatives are such encoders. `project` is what was trained with SAM; E is the width
    of the common space, D that of SAM's tokens (256).
    """

    side: int
    """Of the square crops that `embed_crops` takes, pixels; 336 in the paper."""
    patch: int
    """Side of the encoder's patches, pixels; divides `side`. 14 in the paper."""

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return (T, E) float embeddings."""
        ...

    def embed_crops(self, crops: Tensor, inside: Tensor) -> Tensor:
        """Embed crops, attending to the object alone in the last layer.

        Args:
            crops: (K, 3, side, side) float32, 0 to 255, RGB.
            inside: (K, side / patch, side / patch) bool, the patches that the object touches.

        Returns:
            (K, E) float embeddings.
        """
        ...

    def project(self, embeddings: Tensor) -> Tensor:
        """Return (K, D) prompt tokens for (K, E) embeddings of length 1."""
        ...


def text_tokens(encoder: TextEncoder, texts: Sequence[str], sam: Sam) -> Tensor:
    """Return a prompt token for each text, (T, D), on the model's device.

    Raises:
        ConfigError: if the encoder fails, or does not give what `TextEncoder` says.
    """
    return _tokens(encoder, lambda: encoder.embed_texts(list(texts)), len(texts), sam)


def crop_tokens(encoder: TextEncoder, crops: Tensor, inside: Tensor, sam: Sam) -> Tensor:
    """Return a prompt token for each crop, (K, D), on the model's device.

    Args:
        encoder: The encoder.
        crops: (K, 3, side, side), see `TextEncoder.embed_crops`.
        inside: (K, side / patch, side / patch) bool.
        sam: The model.

    Raises:
        ConfigError: if the encoder fails, or does not give what `TextEncoder` says.
    """
    return _tokens(encoder, lambda: encoder.embed_crops(crops, inside), len(crops), sam)


def decode_with_tokens(
    sam: Sam, embeddings: Tensor, tokens: Tensor, prompts: PromptBatch, *, multimask: bool
) -> MaskOutput:
    """Predict masks for prompts that begin with a token of their own.

    Args:
        sam: The model.
        embeddings: (B, D, h, w) from `Sam.encode_image`.
        tokens: (P, D), the first token of each prompt.
        prompts: P prompts: what follows the token, which may be nothing.
        multimask: Three masks, or the one of a clear prompt.

    Returns:
        Logits (P, M, 4 h, 4 w) and predicted IoU (P, M).

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix D.5: the embedding is the first prompt,
    corrective points follow as usual.
    """
    grid = (embeddings.shape[-2], embeddings.shape[-1])
    encoded = sam.prompt_encoder(prompts, grid_size=grid)
    key_mask = encoded.key_mask
    if key_mask is not None:
        key_mask = torch.cat([key_mask.new_ones(len(key_mask), 1), key_mask], dim=1)
    first = tokens[:, None].to(encoded.tokens.dtype)
    output: MaskOutput = sam.mask_decoder(
        embeddings,
        EncodedPrompts(
            tokens=torch.cat([first, encoded.tokens], dim=1),
            key_mask=key_mask,
            dense=encoded.dense,
        ),
        image_index=prompts.image_index,
        image_position=sam.prompt_encoder.image_position(grid_size=grid),
        multimask=multimask,
    )
    return output


def one_line(error: Exception) -> str:
    """Return what went wrong in somebody else's code, short enough for a message."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _given(name: str, ask: Callable[[], Tensor]) -> Tensor:
    """Return what an encoder gives; its own errors are not samft's."""
    try:
        return ask()
    except Exception as error:
        raise ConfigError(
            "the encoder failed",
            where=name,
            found=one_line(error),
            fix="SAMFT_DEBUG=1 shows where",
        ) from error


def _tokens(encoder: TextEncoder, embed: Callable[[], Tensor], count: int, sam: Sam) -> Tensor:
    name = type(encoder).__name__
    width = sam.config.embed_dim
    embeddings = _given(name, embed)
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2 or len(embeddings) != count:
        raise _unfit(name, "embeddings", embeddings, f"({count}, width)")
    tokens = _given(name, lambda: encoder.project(F.normalize(embeddings.float(), dim=1)))
    if not isinstance(tokens, Tensor) or tuple(tokens.shape) != (count, width):
        raise _unfit(name, "prompt tokens", tokens, f"({count}, {width})")
    if not bool(torch.isfinite(tokens).all()):
        raise ConfigError("the encoder gives values that are no numbers", where=name)
    return tokens.float().to(sam.pixel_mean.device)


def _unfit(name: str, what: str, found: object, expected: str) -> ConfigError:
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    return ConfigError(
        f"the encoder gives {what} of another shape",
        where=name,
        found=shape,
        expected=expected,
        fix="see samft.evaluation.zero_shot.text_encoder.TextEncoder",
    )
