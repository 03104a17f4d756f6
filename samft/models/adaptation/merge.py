"""Bring an adapted model back to a stock SAM with the same answers."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from samft.errors import CheckpointError, ConfigError
from samft.models.adaptation.adapters import is_adapter
from samft.models.adaptation.lora import ADAPTER, is_lora, lora_layers, official_name
from samft.models.sam import Sam


def base_state_dict(sam: Sam) -> dict[str, Tensor]:
    """Return the state dict under the official keys without LoRA and adapters, unmerged.

    The tensors are those of the model, not copies.
    """
    return {
        official_name(key): tensor
        for key, tensor in sam.state_dict().items()
        if not is_lora(key) and not is_adapter(key)
    }


def check_mergeable(sam: Sam) -> None:
    """Check that LoRA is all that was added to a model, and that all of it are numbers.

    Raises:
        ConfigError: if it has bottleneck adapters.
        CheckpointError: if a weight, of LoRA or not, is not finite.
    """
    adapters = [key for key, _ in sam.named_parameters() if is_adapter(key)]
    if adapters:
        raise ConfigError(
            "bottleneck adapters cannot be merged: they have a non-linearity that no weight of a "
            "stock SAM can take over",
            where="adapt.adapter",
            found=adapters[0],
            fix="run the model with samft and its adapter folder, or train with LoRA, which merges",
        )
    for key, parameter in sam.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise CheckpointError(
                "the model cannot be merged: it holds values that are not finite",
                where=key,
                fix="take an earlier checkpoint; the training had diverged",
            )


def merge(sam: Sam) -> None:
    """Add LoRA to the weights it updates and take it out, in place.

    The model then has the official keys, and the answers that it had in evaluation mode but for
    rounding. What is frozen stays frozen. A model without LoRA stays as it is.

    Args:
        sam: The model.

    Raises:
        ConfigError: if it has bottleneck adapters.
        CheckpointError: if a weight is not finite.
    """
    check_mergeable(sam)
    layers = list(lora_layers(sam))
    for name, layer in layers:
        layer.merge(adapter_names=[ADAPTER])
        parent, _, child = name.rpartition(".")
        setattr(sam.get_submodule(parent), child, layer.get_base_layer())
    if layers:
        del sam.peft_config


def merged(sam: Sam) -> Sam:
    """Return a stock SAM with the answers of the adapted one, which stays as it is; see `merge`."""
    check_mergeable(sam)
    twin = copy.deepcopy(sam)
    merge(twin)
    return twin
