"""Optimiser and learning-rate schedule: AdamW, warm-up, and no decay where it does harm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from samft.errors import ConfigError
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSettings(Settings):
    """How weights are updated.

    Args:
        lr: Peak learning rate of the mask decoder and prompt encoder. 1e-4 suits a tuned decoder;
            weights trained from nothing want 5e-4 to 1e-3.
        encoder_lr_factor: Learning rate of the image encoder as a multiple of `lr`; 0.1 to 0.6
            keeps what pre-training taught it.
        weight_decay: AdamW decay; not applied to biases, norms, tokens and position tables.
        warmup_steps: Steps of linear warm-up from zero.
        schedule: `constant`, or `cosine` down to a hundredth of the peak at the last step.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A (AdamW, betas 0.9 and 0.999, decay
    0.1, warm-up 250).
    """

    section: ClassVar[str] = "optimizer"

    lr: float = 1e-4
    encoder_lr_factor: float = 0.1
    weight_decay: float = 0.1
    warmup_steps: int = 50
    schedule: Literal["constant", "cosine"] = "cosine"

    def _check_ranges(self) -> None:
        self._require("lr", low=1e-12)
        self._require("encoder_lr_factor", low=1e-12)
        self._require("weight_decay", low=0)
        self._require("warmup_steps", low=0)


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> AdamW:
    """Return AdamW over the trainable parameters of `model`, in groups named for logging.

    Args:
        model: A module with `image_encoder` among its children's names.
        settings: Rates and decay.

    Raises:
        ConfigError: if nothing is trainable.
    """
    groups = [
        group
        for part, factor in (("image_encoder", settings.encoder_lr_factor), ("rest", 1.0))
        for group in _groups(model, part, lr=settings.lr * factor, decay=settings.weight_decay)
    ]
    if not groups:
        raise ConfigError(
            "nothing would be trained: every part of the model is frozen",
            where="freeze",
            fix="remove a part from model.freeze, such as mask_decoder",
        )
    return AdamW(groups, lr=settings.lr, betas=(0.9, 0.999))


def _groups(model: nn.Module, part: str, *, lr: float, decay: float) -> Iterable[dict[str, object]]:
    members = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and ("image_encoder" in name.split(".")) == (part != "rest")
    ]
    kinds = (("decay", True, decay), ("no_decay", False, 0.0))
    for label, wanted, weight_decay in kinds:
        chosen = [parameter for name, parameter in members if _decays(name, parameter) == wanted]
        if chosen:
            yield {
                "params": chosen,
                "lr": lr,
                "weight_decay": weight_decay,
                "name": f"{part}/{label}",
            }


def _decays(name: str, parameter: torch.Tensor) -> bool:
    tables = ("pos_embed", "rel_pos", "token", "embed")
    if name.endswith("patch_embed.proj.weight"):
        return True
    return parameter.ndim > 1 and not any(table in name for table in tables)


def build_schedule(optimizer: AdamW, settings: OptimizerSettings, *, total_steps: int) -> LambdaLR:
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
