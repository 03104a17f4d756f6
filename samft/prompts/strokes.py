"""Simulated scribbles: points along a curve that stays inside the object, or beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from samft.prompts.sampling import pixel_counts, sample_points, surroundings
from samft.types import ABSENT, NEGATIVE, POSITIVE, PromptBatch

_WOBBLE = 0.3
_TURNS = (0.0, 0.5, -0.5, 1.0, -1.0, 1.6, -1.6, 2.4, -2.4, math.pi)
_SHORTER = (1.0, 0.5, 0.25)


@dataclass(frozen=True)
class Scribble:
    """A stroke inside the object, as positive points; for some objects also one beside it.

    SAM has no token for a stroke, so a stroke is the points along it. A `PromptSimulator`.

    Args:
        count: N, points along a stroke; a stroke with no room to go on has fewer.
        length: Length of a stroke that is not hindered, as a multiple of the square root of the
            area that it is drawn in.
        negative_share: Share of the objects that get a second stroke, negative, near the object
            and outside it. Above 0 there are 2 N slots.
    """

    count: int = 8
    length: float = 1.0
    negative_share: float = 0.0

    def __call__(
        self,
        masks: Tensor,
        image_index: Tensor,
        *,
        generator: torch.Generator,
        ignored: Tensor | None = None,
    ) -> PromptBatch:
        """See `PromptSimulator`."""
        points, drawn = self._stroke(masks, generator)
        labels = torch.where(drawn, POSITIVE, ABSENT)
        if self.negative_share > 0:
            beside, outside = self._stroke(surroundings(masks, ignored), generator)
            draw = torch.rand((len(masks), 1), generator=generator, device=masks.device)
            outside &= draw < self.negative_share
            points = torch.cat([points, beside * outside[..., None]], dim=1)
            labels = torch.cat([labels, torch.where(outside, NEGATIVE, ABSENT)], dim=1)
        return PromptBatch(image_index=image_index, points=points, labels=labels)

    def _stroke(self, regions: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return points (P, N, 2) float32 on (P, S, S) bool `regions`, and (P, N) bool: drawn."""
        step = self.length * pixel_counts(regions).float().sqrt() / self.count
        step = step.clamp(min=1)
        point, found = sample_points(regions, generator=generator)
        shape = (len(regions), self.count)
        turn = torch.rand(shape, generator=generator, device=regions.device) * 2 - 1
        heading = math.pi * turn[:, 0]
        points, drawn = [point], [found]
        for index in range(1, self.count):
            heading = heading + _WOBBLE * math.pi * turn[:, index]
            point, heading, moved = _advance(regions, point, heading, step)
            points.append(point)
            drawn.append(moved)
        used = torch.stack(drawn, dim=1)
        return torch.stack(points, dim=1) * used[..., None], used


def _advance(
    regions: Tensor, point: Tensor, heading: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Go on along the heading, or turn or slow down as little as it takes to stay in the region.

    Args:
        regions: (P, S, S) bool.
        point: (P, 2) float32 `(x, y)`, whole pixels.
        heading: (P,) float32, radians.
        step: (P,) float32, pixels.

    Returns:
        The new points, headings, and (P,) bool, False where every way leaves the region.
    """
    turns, factors = point.new_tensor(_TURNS), point.new_tensor(_SHORTER)
    # Full steps in all directions come before shorter ones.
    angles = (heading[:, None, None] + turns).expand(-1, len(factors), -1).flatten(1)
    steps = (step[:, None, None] * factors[:, None]).expand(-1, -1, len(turns)).flatten(1)
    way = torch.stack([angles.cos(), angles.sin()], dim=-1) * steps[..., None]
    places = (point[:, None] + way).round()
    height, width = regions.shape[-2:]
    inside = places.clamp(min=0).minimum(places.new_tensor([width - 1, height - 1]))
    x, y = inside.long().unbind(dim=-1)
    objects = torch.arange(len(regions), device=regions.device)
    possible = regions[objects[:, None], y, x] & (places == inside).all(dim=-1)
    possible &= (places != point[:, None]).any(dim=-1)
    first = possible.to(torch.uint8).argmax(dim=1)
    moved = possible[objects, first]
    point = torch.where(moved[:, None], places[objects, first], point)
    return point, torch.where(moved, angles[objects, first], heading), moved
