"""Optimiser and learning-rate schedule: warm-up, and no decay where it does harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from samft.errors import ConfigError
from samft.muon import MuonAdamW
from samft.settings import Settings

_MATRICES = "matrices"
_PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSettings(Settings):
    """How weights are updated.

    Args:
        lr: Peak learning rate of the mask decoder and prompt encoder. 1e-4 suits a tuned decoder;
            weights trained from nothing want 5e-4 to 3e-3.
        encoder_lr_factor: Learning rate of the image encoder as a multiple of `lr`; 0.1 to 0.6
            keeps what pre-training taught it.
        weight_decay: AdamW decay; not applied to biases, norms, tokens and position tables.
        warmup_steps: Steps of linear warm-up from zero.
        method: `adamw`, or `muon`, which updates the matrices of linear layers with Muon and all
            else with AdamW: fewer steps for weights that are trained from nothing.
        matrix_lr_factor: With `muon`, the learning rate of those matrices as a multiple of what the
            other parameters of the same part get.
        schedule: `constant`, or `cosine` down to a hundredth of the peak at the last step.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A (AdamW, betas 0.9 and 0.999, decay
    0.1, warm-up 250).
    """

    section: ClassVar[str] = "optimizer"

    lr: float = 1e-4
    encoder_lr_factor: float = 0.1
    weight_decay: float = 0.1
    method: Literal["adamw", "muon"] = "adamw"
    matrix_lr_factor: float = 3.0
    warmup_steps: int = 50
    schedule: Literal["constant", "cosine"] = "cosine"

    def _check_ranges(self) -> None:
        self._require("lr", low=1e-12)
        self._require("encoder_lr_factor", low=1e-12)
        self._require("weight_decay", low=0)
        self._require("matrix_lr_factor", low=1e-12)
        self._require("warmup_steps", low=0)


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> Optimizer:
    """Return the optimiser of the trainable parameters of `model`, in groups named for logging.

    Args:
        model: A module with `image_encoder` among its children's names.
        settings: Method, rates and decay.

    Raises:
        ConfigError: if nothing is trainable.
    """
    groups = list(_groups(model, settings))
    if not groups:
        raise ConfigError(
            "nothing would be trained: every part of the model is frozen",
            where="freeze",
            fix="remove a part from model.freeze, such as mask_decoder",
        )
    matrices = [group for group in groups if group["name"].endswith(_MATRICES)]
    others = [group for group in groups if not group["name"].endswith(_MATRICES)]
    if not matrices:
        return AdamW(groups, lr=settings.lr, betas=(0.9, 0.999))
    return MuonAdamW(matrices, others)


def _groups(model: nn.Module, settings: OptimizerSettings) -> Iterator[dict[str, Any]]:
    members: dict[tuple[str, str], list[nn.Parameter]] = {}
    for path, module in model.named_modules():
        part = "image_encoder" if "image_encoder" in path.split(".") else "rest"
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                key = part, _kind(module, name, method=settings.method)
                members.setdefault(key, []).append(parameter)
    for part, factor in (("image_encoder", settings.encoder_lr_factor), ("rest", 1.0)):
        for kind in (_MATRICES, "decay", "no_decay"):
            if (part, kind) in members:
                speed = settings.matrix_lr_factor if kind == _MATRICES else 1.0
                yield {
                    "params": members[part, kind],
                    "lr": settings.lr * factor * speed,
                    "weight_decay": 0.0 if kind == "no_decay" else settings.weight_decay,
                    "name": f"{part}/{kind}",
                }


def _kind(module: nn.Module, name: str, *, method: str) -> str:
    """Say which group a parameter belongs to: only weights of products are ever decayed."""
    if name != "weight" or not isinstance(module, _PRODUCTS):
        return "no_decay"
    return _MATRICES if method == "muon" and isinstance(module, nn.Linear) else "decay"


def build_schedule(
    optimizer: Optimizer, settings: OptimizerSettings, *, total_steps: int
) -> LambdaLR:
    """Return the schedule that multiplies every group's rate: warm-up, then constant or cosine.

    Args:
        optimizer: What to schedule.
        settings: Warm-up length and shape.
        total_steps: Optimiser steps of the whole run.
    """
    return LambdaLR(optimizer, rate_curve(settings, total_steps=total_steps))


def rate_curve(settings: OptimizerSettings, *, total_steps: int) -> Callable[[int], float]:
    """Return the factor on the peak rate as a function of the step, 0 to 1."""
    # A run shorter than its warm-up would never reach the peak rate.
    warmup = min(settings.warmup_steps, max(1, total_steps // 5))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if settings.schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, total_steps - warmup))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))

    return factor
