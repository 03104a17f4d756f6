"""Simulated clicks: one anywhere on the object, one at its centre, or several.

Each class is a `PromptSimulator`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samft.errors import ConfigError
from samft.prompts.sampling import center_points, sample_many, sample_points, surroundings
from samft.types import ABSENT, NEGATIVE, POSITIVE, PromptBatch


@dataclass(frozen=True)
class UniformPoint:
    """One positive point, anywhere on the object with the same probability."""

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        points, found = sample_points(masks, generator=generator)
        return positive_points(image_index, points[:, None], found[:, None])


@dataclass(frozen=True)
class CenterPoint:
    """One positive point, at the pixel farthest from the boundary; nothing is random."""

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,  # noqa: ARG002  (the protocol's)
        ignored: Tensor | None = None,  # noqa: ARG002  (the protocol's)
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        points, found = center_points(masks)
        return positive_points(image_index, points[:, None], found[:, None])


@dataclass(frozen=True)
class SeveralPoints:
    """A few points at once, their number drawn for each object.

    The first is on the object; of the others some may be negative, near the object and outside it.
    Objects with fewer points than `most` have `ABSENT` slots at the end.

    Args:
        fewest: Least points of an object.
        most: Most points of an object, and the number of slots.
        negative_share: Probability of each point after the first to be negative. Where there is no
            background to click, it is positive.

    Raises:
        ConfigError: if the range is empty or begins below 1.
    """

    fewest: int = 1
    most: int = 5
    negative_share: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most:
            raise ConfigError(
                "the range of points is empty",
                where="prompts.min_points, prompts.max_points",
                found=f"{self.fewest} to {self.most}",
                expected="at least 1, and min_points not above max_points",
            )

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        shape, device = (len(masks), self.most), masks.device
        number = torch.randint(
            self.fewest, self.most + 1, (len(masks), 1), generator=generator, device=device
        )
        slot = torch.arange(self.most, device=device)
        points, found = sample_many(masks, self.most, generator=generator)
        used = (slot < number) & found[:, None]
        if self.negative_share == 0:
            return positive_points(image_index, points, used)
        outside = surroundings(masks, ignored)
        beside, free = sample_many(outside, self.most, generator=generator)
        draw = torch.rand(shape, generator=generator, device=device)
        negative = (draw < self.negative_share) & (slot > 0) & free[:, None]
        labels = torch.where(negative, NEGATIVE, POSITIVE)
        points = torch.where(negative[..., None], beside, points)
        return PromptBatch(
            image_index=image_index,
            points=points * used[..., None],
            labels=torch.where(used, labels, ABSENT),
        )


def positive_points(image_index: Tensor, points: Tensor, used: Tensor) -> PromptBatch:
    """Return prompts of positive points.

    Args:
        image_index: (P,) int64.
        points: (P, N, 2) float32.
        used: (P, N) bool; the other slots are `ABSENT`.
    """
    labels = torch.where(used, POSITIVE, ABSENT)
    return PromptBatch(image_index=image_index, points=points * used[..., None], labels=labels)
