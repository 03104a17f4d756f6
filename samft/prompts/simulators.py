"""Prompt simulators: what a person might have clicked or drawn to mean this object.

Each is a small callable behind `PromptSimulator`; `MixedPrompts` and `JoinedPrompts` combine them,
and `build_simulator` makes the one that the settings describe. All work on the flat prompt axis and
on the masks' device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from samft.prompts.boxes import NoisyBox, TightBox, UniformBox, WholeFrame
from samft.prompts.combining import GivenPrompts, JoinedPrompts, MixedPrompts, NoPrompt
from samft.prompts.interface import PromptSimulator
from samft.prompts.mask_prompts import Lasso, WrongMask
from samft.prompts.points import CenterPoint, SeveralPoints, UniformPoint
from samft.prompts.settings import PromptKind, PromptSettings, parts_of
from samft.prompts.strokes import Scribble

__all__ = [
    "CenterPoint",
    "GivenPrompts",
    "JoinedPrompts",
    "Lasso",
    "MixedPrompts",
    "NoPrompt",
    "NoisyBox",
    "PromptSimulator",
    "Scribble",
    "SeveralPoints",
    "TightBox",
    "UniformBox",
    "UniformPoint",
    "WholeFrame",
    "WrongMask",
    "build_simulator",
]


def build_simulator(settings: PromptSettings, *, mask_stride: int = 4) -> PromptSimulator:
    """Return the simulator of a training step's first prompts.

    Args:
        settings: Which prompts, how often, and their numbers.
        mask_stride: Pixels of the input per logit of a mask prompt: a quarter of the model's patch
            size.

    Raises:
        ConfigError: if a setting is out of range.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A, for the default: a uniform point or
    a noisy box.
    """
    settings.validate()
    shares = settings.shares()
    simulators = [_kind(name, settings, mask_stride) for name in shares]
    return MixedPrompts(simulators=simulators, probabilities=tuple(shares.values()))


def _kind(name: str, settings: PromptSettings, mask_stride: int) -> PromptSimulator:
    parts = [_BUILDERS[part](settings, mask_stride) for part in parts_of(name)]
    return parts[0] if len(parts) == 1 else JoinedPrompts(parts)


def _box(settings: PromptSettings, _: int) -> PromptSimulator:
    noise, max_px = settings.box_noise, settings.box_noise_max_px
    if settings.box_shift == "gaussian":
        return NoisyBox(noise=noise, max_px=max_px)
    return UniformBox(noise=noise, max_px=max_px, outward=settings.box_shift == "outward")


def _points(settings: PromptSettings, _: int) -> PromptSimulator:
    return SeveralPoints(
        fewest=settings.min_points,
        most=settings.max_points,
        negative_share=settings.negative_share,
    )


def _scribble(settings: PromptSettings, _: int) -> PromptSimulator:
    return Scribble(count=settings.scribble_points, negative_share=settings.negative_share)


_BUILDERS: Final[dict[PromptKind, Callable[[PromptSettings, int], PromptSimulator]]] = {
    "point": lambda _settings, _stride: UniformPoint(),
    "center": lambda _settings, _stride: CenterPoint(),
    "points": _points,
    "scribble": _scribble,
    "box": _box,
    "frame": lambda _settings, _stride: WholeFrame(),
    "mask": lambda settings, stride: WrongMask(stride=stride, damage=settings.mask_damage),
    "lasso": lambda settings, stride: Lasso(stride=stride, slack=settings.mask_damage),
    "none": lambda _settings, _stride: NoPrompt(),
}
