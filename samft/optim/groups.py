"""Parameter groups: a learning rate for each part and layer, and no decay where it does harm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn
from torch.optim import AdamW, Optimizer

from samft.errors import ConfigError
from samft.optim.low_bit import adamw_8bit
from samft.optim.muon import MuonAdamW
from samft.optim.settings import OptimizerSettings

_ENCODER = "image_encoder"
_PARTS = ("channel_adapter", _ENCODER, "prompt_encoder", "mask_decoder", "rest")
_MATRICES = "matrices"
_KINDS = (_MATRICES, "decay", "no_decay")
_PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


class GroupRow(NamedTuple):
    """What one parameter group is trained with.

    Args:
        name: Part, layer where layers differ, and kind, such as `image_encoder/layer_03/decay`.
        num_parameters: Numbers that are trained in it.
        lr: Its peak learning rate.
        weight_decay: Its decay.
    """

    name: str
    num_parameters: int
    lr: float
    weight_decay: float


class _Layer(NamedTuple):
    """The layer of the image encoder a parameter belongs to, and its share of the encoder's rate.

    Empty for everything that no layer decay reaches.
    """

    name: str = ""
    rate: float = 1.0


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """Return the optimiser of the trainable parameters of `model`, in groups named for logging.

    Args:
        model: A module with `image_encoder`, `prompt_encoder` and `mask_decoder` among its
            children; what is in none of them gets the decoder's rate.
        settings: Method, rates and decay.

    Raises:
        ConfigError: if nothing is trainable, or layers are to differ and the image encoder has
            none.
        DependencyError: if the method needs a package that is not installed.
    """
    groups = list(_groups(model, settings))
    if not groups:
        raise ConfigError(
            "nothing would be trained: every part of the model is frozen",
            where="adapt",
            fix="train a part of the model, such as mask_decoder",
        )
    if settings.method == "adamw_8bit":
        return adamw_8bit(groups, lr=settings.lr)
    matrices = [group for group in groups if group["name"].endswith(_MATRICES)]
    others = [group for group in groups if not group["name"].endswith(_MATRICES)]
    if not matrices:
        return AdamW(groups, lr=settings.lr, betas=(0.9, 0.999))
    return MuonAdamW(matrices, others)


def describe(optimizer: Optimizer) -> list[GroupRow]:
    """Return what each group of `build_optimizer` is trained with, at the peak of the schedule."""
    return [
        GroupRow(
            name=group["name"],
            num_parameters=sum(parameter.numel() for parameter in group["params"]),
            # A schedule notes the peak here before it scales it.
            lr=group.get("initial_lr", group["lr"]),
            weight_decay=group["weight_decay"],
        )
        for group in optimizer.param_groups
    ]


def _groups(model: nn.Module, settings: OptimizerSettings) -> Iterator[dict[str, Any]]:
    layers = _layers(model, settings.layer_decay)
    members: dict[tuple[int, _Layer, int], list[nn.Parameter]] = {}
    for path, module in model.named_modules():
        part = _part(path)
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                kind = _KINDS.index(_kind(module, name, method=settings.method))
                place = part, layers.get(id(parameter), _Layer()), kind
                members.setdefault(place, []).append(parameter)
    for place in sorted(members):
        part_name, layer, kind_name = _PARTS[place[0]], place[1], _KINDS[place[2]]
        speed = settings.matrix_lr_factor if kind_name == _MATRICES else 1.0
        yield {
            "params": members[place],
            "lr": settings.lr * _factor(part_name, settings) * speed * layer.rate,
            "weight_decay": 0.0 if kind_name == "no_decay" else settings.weight_decay,
            "name": "/".join(filter(None, (part_name, layer.name, kind_name))),
        }


def _part(path: str) -> int:
    """Return which of `_PARTS` the module at `path` belongs to."""
    names = path.split(".")
    return next((i for i, part in enumerate(_PARTS) if part in names), len(_PARTS) - 1)


def _factor(part: str, settings: OptimizerSettings) -> float:
    factors = {
        _ENCODER: settings.encoder_lr_factor,
        "prompt_encoder": settings.prompt_encoder_lr_factor,
        "channel_adapter": settings.channel_lr_factor,
    }
    return factors.get(part, 1.0)


def _kind(module: nn.Module, name: str, *, method: str) -> str:
    """Say which group a parameter belongs to: only weights of products are ever decayed."""
    if name != "weight" or not isinstance(module, _PRODUCTS):
        return "no_decay"
    return _MATRICES if method == "muon" and isinstance(module, nn.Linear) else "decay"


def _layers(model: nn.Module, decay: float) -> dict[int, _Layer]:
    """Return the layer of each parameter of the image encoder, by id; nothing without decay."""
    if decay == 1.0:
        return {}
    layers: dict[int, _Layer] = {}
    for path, module in model.named_modules():
        if path.split(".")[-1] != _ENCODER:
            continue
        numbers = layer_numbers(module)
        last = max(numbers.values())
        for key, number in numbers.items():
            layers[key] = _Layer(f"layer_{number:02d}", decay ** (last - number))
    return layers


def layer_numbers(encoder: nn.Module) -> dict[int, int]:
    """Number the layers of an image encoder from its input to its output.

    Blocks are what lies in a module list called `blocks`, of the encoder itself or of its stages.
    Parameters before the first block (patch embedding, table of positions) are layer 0, those of
    the k-th of L blocks layer k, counted from 1, and those after the last (the neck) layer L + 1.
    What merges two stages goes with the block before it.

    Returns:
        The number of each parameter, by its id.

    Raises:
        ConfigError: if there are no blocks.

    Source: Li et al. 2022 (ViTDet), arXiv:2203.16527, whose tables of relative positions belong to
        their block, like SAM's; Wu et al. 2022 (TinyViT), arXiv:2207.10666, for the merges.
    """
    numbers: dict[int, int] = {}
    count = 0
    for stage in encoder.modules():
        blocks = getattr(stage, "blocks", None)
        if not isinstance(blocks, nn.ModuleList):
            continue
        for block in blocks:
            count += 1
            numbers.update((id(parameter), count) for parameter in block.parameters())
        if stage is not encoder:
            for parameter in stage.parameters():
                numbers.setdefault(id(parameter), count)
    if count == 0:
        raise ConfigError(
            "the image encoder has no blocks whose learning rates could differ",
            where="optimizer.layer_decay",
            found=type(encoder).__name__,
            fix="set optimizer.layer_decay to 1.0",
        )
    outside = 0
    for parameter in encoder.parameters():  # in the order they were made: input first
        if id(parameter) in numbers:
            outside = count + 1
        else:
            numbers[id(parameter)] = outside
    return numbers
