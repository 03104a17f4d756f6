"""The next click of a person who looks at a prediction and corrects it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from samft.prompts.sampling import innermost, sample_points
from samft.types import ABSENT, NEGATIVE, POSITIVE


def corrective_points(
    predicted: Tensor,
    target: Tensor,
    ignored: Tensor | None = None,
    *,
    generator: torch.Generator,
    mode: Literal["uniform", "center"] = "uniform",
) -> tuple[Tensor, Tensor]:
    """Place one click per object where the prediction is wrong.

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
            separately and the deeper one chosen (the missed one if equal).

    Returns:
        Points (P, 1, 2) float32 `(x, y)` and labels (P, 1) int64.

    Source: Kirillov et al. 2023, arXiv:2304.02643, appendix A (uniform) and section 7.1 (center);
    SAM 2, arXiv:2408.00714, for the choice between the two kinds of error.
    """
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
