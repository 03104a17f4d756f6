"""LoRA through `peft`, in the layers of a SAM.

`peft` replaces a linear layer by one of its own that holds the layer as `base_layer`. The encoder
has queries, keys and values in one layer. Where only some of them are to be updated, the update of
the other rows is multiplied by zero: their part of `lora_B` (and with DoRA their lengths) never has
a gradient and stays as it started, so file and merge are those of ordinary LoRA.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from samft._deps import require
from samft.errors import ConfigError
from samft.models.adaptation.parts import EncoderBlock, chosen_blocks
from samft.models.adaptation.settings import LoraSettings
from samft.models.image_encoder import Attention
from samft.models.sam import Sam
from samft.models.tiny_vit_blocks import WindowAttention
from samft.models.transformer import CrossAttention, TokenMlp

ADAPTER: Final = "default"
"""The name that peft gives an adapter unless told otherwise; samft has one."""

_QKV = ("q", "k", "v")
_SUFFIX = ".base_layer"
_TARGETS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"}


def peft() -> Any:  # Any: an optional package
    """Import `peft`.

    Raises:
        DependencyError: if it is not installed.
    """
    return require("peft", extra="lora", purpose="train or read LoRA")


def is_lora(key: str) -> bool:
    """Whether a key of an adapted model's state dict belongs to LoRA."""
    return ".lora_" in key


def official_name(key: str) -> str:
    """Return the official name of a weight that LoRA has put into a `base_layer`."""
    return key.replace(f"{_SUFFIX}.", ".")


def injected_config(sam: Sam) -> Any:  # Any: peft.LoraConfig
    """Return the configuration of the LoRA in a model, `None` for a model without."""
    return vars(sam).get("peft_config", {}).get(ADAPTER)


def lora_layers(sam: Sam) -> Iterator[tuple[str, Any]]:  # Any: classes of peft
    """Yield (official name, peft's layer) of all layers with LoRA."""
    if injected_config(sam) is not None:  # a plain model needs no peft
        layer_class = peft().tuners.lora.LoraLayer
        for name, module in sam.named_modules():
            if isinstance(module, layer_class):
                yield name, module


def lora_targets(sam: Sam, settings: LoraSettings) -> dict[str, Tensor | None]:
    """Return the layers that are updated, and which of their rows.

    Args:
        sam: A model without LoRA.
        settings: What is updated.

    Returns:
        For the name of each layer (out,) bool, True for the rows that are updated; `None` where all
        of them are.

    Raises:
        ConfigError: if the model has no such blocks, or nothing to update in them.
    """
    targets: dict[str, Tensor | None] = {}
    for block in chosen_blocks(sam, settings.blocks, where="adapt.lora.blocks"):
        targets |= _encoder_targets(block, settings.targets)
    if settings.decoder:
        targets |= _decoder_targets(sam, settings.targets)
    if not targets:
        raise ConfigError(
            "the chosen blocks have no layers that LoRA could update",
            where="adapt.lora",
            found=f"blocks {settings.blocks}, targets {list(settings.targets)}",
            fix="choose blocks with attention; TinyViT's first stage has none",
        )
    return targets


def qkv_rows(attention: nn.Module, parts: Sequence[str]) -> Tensor:
    """Return (3 C,) bool: the rows of an encoder's `qkv` layer that make `parts` of q, k and v."""
    assert isinstance(attention, Attention | WindowAttention)
    # TinyViT keeps the three of one head together, the plain encoder those of all heads.
    groups = attention.num_heads if isinstance(attention, WindowAttention) else 1
    chosen = torch.tensor([part in parts for part in _QKV], device="cpu")
    size = attention.qkv.out_features // (3 * groups)
    return chosen[None, :, None].expand(groups, 3, size).flatten()


def _encoder_targets(block: EncoderBlock, targets: Sequence[str]) -> dict[str, Tensor | None]:
    attention = getattr(block.module, "attn", None)
    if attention is None:  # a convolutional block
        return {}
    found: dict[str, Tensor | None] = {}
    if set(targets) & set(_QKV):
        whole = set(_QKV) <= set(targets)
        found[f"{block.path}.attn.qkv"] = None if whole else qkv_rows(attention, targets)
    if "out" in targets:
        found[f"{block.path}.attn.proj"] = None
    if "mlp" in targets:
        mlp = block.module.get_submodule("mlp")
        for name, child in mlp.named_children():
            if isinstance(child, nn.Linear):
                found[f"{block.path}.mlp.{name}"] = None
    return found


def _decoder_targets(sam: Sam, targets: Sequence[str]) -> dict[str, Tensor | None]:
    names = {_TARGETS[target] for target in targets if target in _TARGETS}
    found: dict[str, Tensor | None] = {}
    for path, module in sam.mask_decoder.transformer.named_modules():
        chosen = names if isinstance(module, CrossAttention) else set[str]()
        if isinstance(module, TokenMlp) and "mlp" in targets:
            chosen = {"lin1", "lin2"}
        for name in sorted(chosen):
            found[f"mask_decoder.transformer.{path}.{name}"] = None
    return found


def lora_config(sam: Sam, settings: LoraSettings) -> Any:  # Any: peft.LoraConfig
    """Return the configuration that makes peft update the same layers of a stock SAM."""
    return peft().LoraConfig(
        r=settings.rank,
        lora_alpha=int(settings.alpha) if settings.alpha.is_integer() else settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.variant == "dora",
        use_rslora=settings.variant == "rslora",
        target_modules="|".join(re.escape(name) for name in lora_targets(sam, settings)),
    )


def inject_lora(sam: Sam, settings: LoraSettings) -> None:
    """Put LoRA into the layers, in place; it starts as no change at all.

    Everything but LoRA is frozen by this.

    Args:
        sam: A model without LoRA.
        settings: What is updated and how.

    Raises:
        ConfigError: if there is nothing to update.
        DependencyError: if `peft` is not installed.
    """
    targets = lora_targets(sam, settings)
    peft().inject_adapter_in_model(lora_config(sam, settings), sam)
    for name, rows in targets.items():
        if rows is not None:
            _update_only(sam.get_submodule(name), rows)


def _update_only(layer: Any, rows: Tensor) -> None:  # Any: peft's layer
    lengths = layer.lora_magnitude_vector
    last = lengths[ADAPTER] if ADAPTER in lengths else layer.lora_B[ADAPTER]
    rows = rows.to(layer.base_layer.weight.device)
    last.register_buffer("updated_rows", rows, persistent=False)
    last.register_forward_hook(_without_other_rows)


def _without_other_rows(module: nn.Module, _: Any, output: Tensor) -> Tensor:
    # A hook and a buffer, not a closure: both follow the model to another device and into copies.
    rows: Tensor = module.get_buffer("updated_rows")
    return output * rows


def changed_other_rows(sam: Sam, settings: LoraSettings, lora: Mapping[str, Tensor]) -> str | None:
    """Return the name of a layer in which LoRA changes rows that its settings leave alone.

    Training never does; a file from elsewhere can.

    Args:
        sam: The model without LoRA.
        settings: What is updated.
        lora: LoRA's tensors under peft's names.

    Returns:
        The first such layer, `None` if there is none.
    """
    for name, rows in lora_targets(sam, settings).items():
        if rows is None:
            continue
        norms = torch.linalg.norm(sam.get_parameter(f"{name}.weight").detach().cpu(), dim=1)
        lengths = lora.get(f"{name}.lora_magnitude_vector", norms).to(norms.dtype)
        same_length = torch.allclose(lengths[~rows], norms[~rows], rtol=1e-4)
        if bool(lora[f"{name}.lora_B.weight"][~rows].any()) or not same_length:
            return name
    return None
