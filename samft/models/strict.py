"""Load a state dict into a model: every tensor or none."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from samft.errors import CheckpointError
from samft.models.channels import ADAPTER, channels_in
from samft.models.config import SamConfig, VitEncoder
from samft.models.position import adapt_position_tables
from samft.models.recognise import EncoderShape, family_of
from samft.models.sam import Sam

_logger = logging.getLogger(__name__)
_POS_EMBED = "image_encoder.pos_embed"
_SHOWN = 3
# Nothing that a SAM answers depends on these: the classifier of MobileSAM's pre-training, and how
# many batches its batch norms have seen. Some programs leave them out of their files.
_UNREAD = re.compile(r"image_encoder\.(?:norm_head\.|head\.|.+\.num_batches_tracked$)")

Shape = tuple[int, ...]


def load_state_dict(model: Sam, state: dict[str, Tensor], *, source: object) -> None:
    """Copy `state` into `model`, or leave the model as it is and say why.

    Position tables of another input size are interpolated, and values that nothing reads (the
    classifier and the batch counters of MobileSAM) may be missing; everything else must fit
    exactly. Values are converted to the model's dtype and device. A channel adapter in `state` goes
    into the model, which gets one if it has none; without one in `state` that of the model keeps
    its values.

    Args:
        model: The model to fill.
        state: Official keys.
        source: Where the state dict comes from, for messages.

    Raises:
        CheckpointError: if keys are missing, unexpected, or of another shape.
    """
    config = model.config
    unread = _missing_unread_values(model, state)
    complete = _own_adapter(model, state) | state | unread
    brought = None if model.channel_adapter is not None else channels_in(state)
    expected = _expected_shapes(model, complete)
    if brought is not None:
        expected |= {f"{ADAPTER}weight": (3, brought.count, 1, 1), f"{ADAPTER}bias": (3,)}
    misfit = _compare(expected, complete)
    if misfit:
        raise CheckpointError(
            f"the weights do not fit the architecture {config.name}",
            where=source,
            found=str(misfit),
            fix=_hint(state, config, misfit),
        )
    if unread:
        _logger.info(
            "%s: %d values that nothing reads are not in it and set to zero (%s)",
            source,
            len(unread),
            _first(list(unread)),
        )
    if brought is not None:
        model.set_channels(brought)
        model.to(model.pixel_mean.device, model.pixel_mean.dtype)
        _logger.info("%s: it brings an adapter for %d channels", source, brought.count)
    adapted = adapt_position_tables(complete, config)
    changed = sum(adapted[key] is not tensor for key, tensor in complete.items())
    if changed:
        _logger.info(
            "%s: %d position tables interpolated to %d px", source, changed, config.image_size
        )
    model.load_state_dict(adapted, strict=True)


def _missing_unread_values(model: Sam, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return zeros for the values that nothing reads and that `state` lacks.

    A model that is about to be loaded may hold uninitialised memory, so they cannot stay.
    """
    return {
        key: torch.zeros_like(tensor)
        for key, tensor in model.state_dict().items()
        if key not in state and _UNREAD.match(key)
    }


def _own_adapter(model: Sam, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the model's channel adapter, as long as `state` has none."""
    if model.channel_adapter is None or any(key.startswith(ADAPTER) for key in state):
        return {}
    return {f"{ADAPTER}{key}": value for key, value in model.channel_adapter.state_dict().items()}


def _expected_shapes(model: Sam, state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shapes this model would have at the input size of `state`."""
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    encoder, table = model.config.encoder, state.get(_POS_EMBED)
    if not isinstance(encoder, VitEncoder):
        return shapes
    if table is None or table.ndim != 4 or table.shape[1] != table.shape[2] or not table.shape[1]:
        return shapes
    grid = table.shape[1]
    shapes[_POS_EMBED] = (1, grid, grid, shapes[_POS_EMBED][-1])
    for index in encoder.global_blocks:
        for axis in ("h", "w"):
            key = f"image_encoder.blocks.{index}.attn.rel_pos_{axis}"
            shapes[key] = (2 * grid - 1, shapes[key][-1])
    return shapes


@dataclass(frozen=True, slots=True)
class _Misfit:
    """What keeps a state dict from fitting; empty when it fits."""

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]
    num_expected: int

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", self.misshaped),
        )
        told = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in parts if keys]
        return f"of {self.num_expected} tensors: " + ", ".join(told)


def _first(keys: list[str]) -> str:
    more = ", ..." if len(keys) > _SHOWN else ""
    return ", ".join(keys[:_SHOWN]) + more


def _compare(expected: Mapping[str, Shape], state: Mapping[str, Tensor]) -> _Misfit:
    given = {key: tuple(tensor.shape) for key, tensor in state.items()}
    return _Misfit(
        missing=[f"{key} {shape}" for key, shape in expected.items() if key not in given],
        unexpected=[f"{key} {shape}" for key, shape in given.items() if key not in expected],
        misshaped=[
            f"{key} {given[key]} instead of {shape}"
            for key, shape in expected.items()
            if key in given and given[key] != shape
        ],
        num_expected=len(expected),
    )


def _hint(state: Mapping[str, Tensor], config: SamConfig, misfit: _Misfit) -> str:
    """Say what the weights are instead, from the nearest to the vaguest guess."""
    family = family_of(state)
    if family is not None:
        return f"these are {family} weights, which the architecture {config.name} cannot hold"
    shape = EncoderShape.of(state)
    if shape is None:
        return "the image encoder is not complete: pass the weights of a whole SAM"
    if shape.arch is None:
        return f"no architecture of samft has such an image encoder: {shape}"
    if shape.arch != config.name:
        return f"these are {shape.arch} weights; use arch: {shape.arch}"
    brought = channels_in(state)
    if brought is not None and all(ADAPTER in key for key in misfit.misshaped):
        return f"the weights take {brought.count} channels: set model.channels.count to that"
    if misfit.unexpected and not misfit.missing and not misfit.misshaped:
        return "the weights belong to a model with extra parts; save its SAM alone"
    return (
        f"the image encoder is that of {shape.arch}, but the file is not a whole SAM of this size"
    )
