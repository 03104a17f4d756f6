"""The parts of a SAM that can be trained by themselves, and the blocks of its image encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, cast

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from samft.errors import ConfigError
from samft.models.adaptation.settings import AdaptationSettings, Blocks, Part
from samft.models.channels import ADAPTER
from samft.models.image_encoder import ImageEncoder
from samft.models.sam import Sam
from samft.models.tiny_vit import Stage

COMPONENTS: Final = ("image_encoder", "prompt_encoder", "mask_decoder")
"""The parts that every SAM has."""
UNREAD: Final = ("image_encoder.norm_head.", "image_encoder.head.")
"""The classifier of MobileSAM's pre-training: nothing reads it, so nothing can train it."""
_MASK_TOKENS = ("mask_decoder.mask_tokens.", "mask_decoder.iou_token.")
_PROMPT_TOKENS = tuple(
    f"prompt_encoder.{name}." for name in ("point_embeddings", "not_a_point_embed", "no_mask_embed")
)
_POSITIONS = (".pos_embed", ".rel_pos_h", ".rel_pos_w", ".attention_biases")


class EncoderBlock(NamedTuple):
    """A block of the image encoder.

    Args:
        path: Its name in the model.
        module: The block.
        after: What merges its stage with the next, where it is the last of a stage.
    """

    path: str
    module: nn.Module
    after: nn.Module | None = None

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the names of its parameters begin with in the model."""
        own = f"{self.path}."
        if self.after is None:
            return (own,)
        return own, f"{self.path.rpartition('blocks.')[0]}downsample."


def components(sam: Sam) -> tuple[str, ...]:
    """Return the parts of this model: those of every SAM, and its channel adapter if it has one."""
    return COMPONENTS if sam.channel_adapter is None else ("channel_adapter", *COMPONENTS)


def encoder_blocks(sam: Sam) -> list[EncoderBlock]:
    """Return the blocks of the image encoder from its input to its output, over all stages."""
    encoder = sam.image_encoder
    if isinstance(encoder, ImageEncoder):
        return [
            EncoderBlock(f"image_encoder.blocks.{index}", block)
            for index, block in enumerate(encoder.blocks)
        ]
    blocks = []
    for number, child in enumerate(encoder.layers):
        stage = cast(Stage, child)
        last = len(stage.blocks) - 1
        for index, block in enumerate(stage.blocks):
            path = f"image_encoder.layers.{number}.blocks.{index}"
            blocks.append(EncoderBlock(path, block, stage.downsample if index == last else None))
    return blocks


def chosen_blocks(sam: Sam, blocks: Blocks, *, where: str) -> list[EncoderBlock]:
    """Return the blocks of the image encoder that a setting means.

    Args:
        sam: The model.
        blocks: The setting.
        where: Its name, for the message.

    Raises:
        ConfigError: if a number is not that of a block, or the last comes before the first.
    """
    every = encoder_blocks(sam)
    depth = len(every)
    named = {"none": depth, "all": 0, "upper_half": depth // 2}
    if not isinstance(blocks, tuple):
        return every[named[blocks] :]
    first, last = (number + depth if number < 0 else number for number in blocks)
    if not 0 <= first <= last < depth:
        raise ConfigError(
            "the image encoder has no such blocks",
            where=where,
            found=list(blocks),
            expected=f"[first, last] out of 0 to {depth - 1}",
        )
    return every[first : last + 1]


def named_parameters(sam: Sam) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Yield (name, module that holds it, parameter) of all that the model reads."""
    for path, module in sam.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            key = f"{path}.{name}"
            if not key.startswith(UNREAD):
                yield key, module, parameter


def trained_themselves(sam: Sam, settings: AdaptationSettings) -> list[nn.Parameter]:
    """Return the parameters of the model itself that the settings train.

    Those of a learned channel adapter are always among them.

    Args:
        sam: A model without LoRA and adapters.
        settings: What is trained.

    Raises:
        ConfigError: if the model has no such blocks.
    """
    whole = {
        id(parameter)
        for block in chosen_blocks(sam, settings.blocks, where="adapt.blocks")
        for module in (block.module, block.after)
        if module is not None
        for parameter in module.parameters()
    }
    return [
        parameter
        for key, module, parameter in named_parameters(sam)
        if id(parameter) in whole
        or key.startswith(ADAPTER)
        or any(_BELONGS[part](key, module) for part in settings.train)
    ]


def _starts(*prefixes: str) -> Callable[[str, nn.Module], bool]:
    return lambda key, _: key.startswith(prefixes)


_BELONGS: dict[Part, Callable[[str, nn.Module], bool]] = {
    "image_encoder": _starts("image_encoder."),
    "neck": _starts("image_encoder.neck."),
    "prompt_encoder": _starts("prompt_encoder."),
    "mask_decoder": _starts("mask_decoder."),
    "mask_heads": lambda key, _: (
        key.startswith("mask_decoder.") and not key.startswith("mask_decoder.transformer.")
    ),
    "mask_tokens": _starts(*_MASK_TOKENS),
    "prompt_tokens": _starts(*_PROMPT_TOKENS),
    "norms": lambda _, module: isinstance(module, nn.LayerNorm | _BatchNorm),
    "biases": lambda key, _: key.endswith(".bias"),
    "positions": lambda key, _: key.endswith(_POSITIONS),
}
