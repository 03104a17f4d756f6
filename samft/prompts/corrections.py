"""The next click of a person who looks at a prediction and corrects it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from samft.prompts.sampling import innermost, sample_points, surroundings
from samft.types import ABSENT, NEGATIVE, POSITIVE


def corrective_points(
    predicted: Tensor,
    target: Tensor,
    ignored: Tensor | None = None,
    *,
    generator: torch.Generator,
    mode: Literal["uniform", "center", "pair"] = "uniform",
) -> tuple[Tensor, Tensor]:
    """Place a click per object where the prediction is wrong.

    The click is `POSITIVE` on a missed pixel and `NEGATIVE` on a superfluous one. A perfect
    prediction gets an `ABSENT` point: there is nothing to correct, and an invented background
    click (as SAM 2 places) would teach that clicks come where nothing is wrong.

    Args:
        predicted: (P, S, S) bool.
        target: (P, S, S) bool.
        ignored: (P, S, S) bool, True where the truth is unknown and no click may fall, or `None`.
        generator: Source of randomness, on the masks' device; `center` draws nothing.
        mode: `uniform`: any wrong pixel with the same probability. `center`: the wrong pixel
            farthest from the boundary of its error region, missed and superfluous regions taken
            separately and the deeper one chosen (the missed one if equal). `pair`: one click on a
            missed pixel and one on a superfluous one; where nothing is missed, anywhere on the
            object, and where nothing is superfluous, near the object and outside it.

    Returns:
        Points (P, N, 2) float32 `(x, y)` and labels (P, N) int64; N is 2 for `pair`, else 1.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A (uniform) and section 7.1 (center);
    SAM 2, arXiv:2408.00714, for the choice between the two kinds of error; micro-sam 1.x for pairs.
    """
    if mode == "pair":
        return _pairs(predicted, target, ignored, generator=generator)
    error = predicted ^ target
    if ignored is not None:
        error &= ~ignored
    if mode == "uniform":
        points, found = sample_points(error, generator=generator)
        x, y = points.long().unbind(dim=1)
        missed = target[torch.arange(len(target), device=target.device), y, x]
    else:
        missed_points, missed_depth = innermost(error & target)
        extra_points, extra_depth = innermost(error & ~target)
        missed = missed_depth >= extra_depth
        points = torch.where(missed[:, None], missed_points, extra_points)
        found = torch.maximum(missed_depth, extra_depth) > 0
    labels = torch.where(missed, POSITIVE, NEGATIVE)
    labels = torch.where(found, labels, ABSENT)
    return points[:, None], labels[:, None]


def _pairs(
    predicted: Tensor, target: Tensor, ignored: Tensor | None, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    hidden = torch.zeros_like(target) if ignored is None else ignored
    missed = target & ~predicted & ~hidden
    extra = predicted & ~target & ~hidden
    regions = (
        (_first_of(missed, target & ~hidden), POSITIVE),
        (_first_of(extra, surroundings(target, hidden)), NEGATIVE),
    )
    points, labels = [], []
    for region, label in regions:
        point, found = sample_points(region, generator=generator)
        points.append(point)
        labels.append(torch.where(found, label, ABSENT))
    return torch.stack(points, dim=1), torch.stack(labels, dim=1)


def _first_of(region: Tensor, otherwise: Tensor) -> Tensor:
    """Return (P, S, S) `region`, or `otherwise` for objects where the region is empty."""
    return torch.where(region.flatten(1).any(dim=1)[:, None, None], region, otherwise)
