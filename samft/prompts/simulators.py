"""Prompt simulators: what a person might have clicked or drawn to mean this object.

Each is a small callable behind `PromptSimulator`; `MixedPrompts` combines them. All work on the
flat prompt axis and on the masks' device. An object without a pixel cannot be prompted: it gets an
`ABSENT` point or no box, and stays in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from samft.errors import ConfigError
from samft.prompts.merging import merge_prompts
from samft.prompts.sampling import center_points, sample_points, tight_boxes
from samft.prompts.settings import PromptSettings
from samft.types import ABSENT, POSITIVE, PromptBatch

_PAPER_SIDE = 1024


class PromptSimulator(Protocol):
    """Makes a prompt for every object."""

    def __call__(
        self, masks: Tensor, image_index: Tensor, *, generator: torch.Generator
    ) -> PromptBatch:
        """Return one prompt per object.

        The same fields are set whatever the masks hold, so that every batch takes the same path
        through the model.

        Args:
            masks: (P, S, S) bool, the objects in the input frame.
            image_index: (P,) int64, the image of each object.
            generator: Source of all randomness, on the masks' device.
        """
        ...


@dataclass(frozen=True)
class UniformPoint:
    """One positive point, anywhere on the object with the same probability."""

    def __call__(
        self, masks: Tensor, image_index: Tensor, *, generator: torch.Generator
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        return _point_prompts(image_index, *sample_points(masks, generator=generator))


@dataclass(frozen=True)
class CenterPoint:
    """One positive point, at the pixel farthest from the boundary; nothing is random."""

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        return _point_prompts(image_index, *center_points(masks))


@dataclass(frozen=True)
class TightBox:
    """The smallest box around the object; nothing is random."""

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        boxes, found = tight_boxes(masks)
        return PromptBatch(image_index=image_index, boxes=boxes, has_box=found)


@dataclass(frozen=True)
class NoisyBox:
    """The tight box with Gaussian noise on each coordinate, kept inside the frame.

    A box whose corners change sides, as happens to objects a pixel or two wide, stays tight.

    Args:
        noise: Standard deviation as a share of the box's width or height in pixels.
        max_px: Largest shift in pixels of a 1024 x 1024 input; scaled with the input.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A: 10 % of the side, at most 20 pixels.
    """

    noise: float = 0.1
    max_px: float = 20.0

    def __call__(
        self, masks: Tensor, image_index: Tensor, *, generator: torch.Generator
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        boxes, found = tight_boxes(masks)
        side = masks.shape[-1]
        sizes = (boxes[:, 2:] - boxes[:, :2] + 1).repeat(1, 2)
        cap = self.max_px * side / _PAPER_SIDE
        draw = torch.randn(boxes.shape, generator=generator, device=masks.device)
        noisy = (boxes + (self.noise * sizes * draw).clamp(-cap, cap)).clamp(0, side - 1)
        valid = (noisy[:, 2:] >= noisy[:, :2]).all(dim=1) & found
        boxes = torch.where(valid[:, None], noisy, boxes)
        return PromptBatch(image_index=image_index, boxes=boxes, has_box=found)


@dataclass(frozen=True)
class MixedPrompts:
    """Gives each object a prompt from one of several simulators, in one batch.

    Args:
        simulators: The simulators to choose from; each sees only its own objects.
        probabilities: How often each is chosen; together 1.

    Raises:
        ConfigError: if the probabilities do not fit the simulators or do not sum to 1.
    """

    simulators: Sequence[PromptSimulator]
    probabilities: Sequence[float]

    def __post_init__(self) -> None:
        if len(self.simulators) != len(self.probabilities) or not self.simulators:
            raise ConfigError(
                "MixedPrompts needs one probability per simulator",
                found=f"{len(self.probabilities)} probabilities",
                expected=str(len(self.simulators)),
            )
        total = math.fsum(self.probabilities)
        if min(self.probabilities) < 0 or not math.isclose(total, 1, abs_tol=1e-6):
            raise ConfigError(
                "the probabilities of MixedPrompts must be at least 0 and sum to 1",
                found=list(self.probabilities),
            )

    def __call__(
        self, masks: Tensor, image_index: Tensor, *, generator: torch.Generator
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        limits = torch.tensor(self.probabilities, device=masks.device).cumsum(dim=0)[:-1]
        draw = torch.rand(masks.shape[0], generator=generator, device=masks.device)
        choice = torch.bucketize(draw, limits, right=True)
        parts = []
        for number, simulator in enumerate(self.simulators):
            rows = (choice == number).nonzero()[:, 0]
            parts.append((rows, simulator(masks[rows], image_index[rows], generator=generator)))
        return merge_prompts(parts, image_index)


def build_simulator(settings: PromptSettings) -> PromptSimulator:
    """Return the simulator of a training step's first prompts: a uniform point or a noisy box.

    Raises:
        ConfigError: if a setting is out of range.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A.
    """
    settings.validate()
    return MixedPrompts(
        simulators=(
            UniformPoint(),
            NoisyBox(noise=settings.box_noise, max_px=settings.box_noise_max_px),
        ),
        probabilities=(settings.point_probability, 1 - settings.point_probability),
    )


def _point_prompts(image_index: Tensor, points: Tensor, found: Tensor) -> PromptBatch:
    labels = torch.where(found, POSITIVE, ABSENT)
    return PromptBatch(image_index=image_index, points=points[:, None], labels=labels[:, None])
