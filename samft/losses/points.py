"""The loss on a few pixels of each mask, most of them where the model is unsure."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def uncertain_points(
    logits: Tensor,
    count: int,
    *,
    valid: Tensor | None = None,
    oversample: float = 3.0,
    uncertain: float = 0.75,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw pixels of one mask per prompt, with a preference for logits near 0.

    Draws whole pixels rather than positions between them, so that a pixel left out by `valid` has
    no part through interpolation, and targets keep their exact areas. Pixels may repeat. The draws
    of a prompt follow those of the prompt before, in one call: on the CPU, chunks of prompts with
    one generator get the pixels they would get together.

    Args:
        logits: (P, 1, h, w).
        count: Pixels per mask, N.
        valid: (P, 1, h, w) bool: others are never preferred. `None` for all pixels.
        oversample: Candidates for the preferred pixels, as a multiple of N.
        uncertain: Share of the pixels that are the candidates with the smallest |logit|; the rest
            are uniform.
        generator: Source of randomness, on the logits' device; default is torch's own.

    Returns:
        (P, 1, N) int64 indices into the flattened h * w pixels.

    Source: Kirillov et al. 2020 (PointRend), arXiv:1912.08193, section 3.1; numbers of HQ-SAM, Ke
    et al. 2023, arXiv:2306.01567 (112 x 112 points, 3, 0.75).
    """
    preferred = round(uncertain * count)
    candidates = max(preferred, round(oversample * count)) if preferred else 0
    prompts, _, height, width = logits.shape
    shape = (prompts, 1, candidates + count - preferred)
    drawn = torch.randint(height * width, shape, generator=generator, device=logits.device)
    certainty = sample_at(logits, drawn[..., :candidates])[:, :, 0].abs()
    if valid is not None:
        known = sample_at(valid, drawn[..., :candidates])[:, :, 0]
        certainty = certainty.masked_fill(~known, torch.inf)
    chosen = certainty.topk(preferred, dim=-1, largest=False, sorted=False).indices
    return torch.cat([drawn.gather(-1, chosen), drawn[..., candidates:]], dim=-1)


def sample_at(pixels: Tensor, points: Tensor) -> Tensor:
    """Return the pixels at (P, 1, N) flat indices of (P, 1, h, w), as an image (P, 1, 1, N)."""
    return pixels.flatten(-2).gather(-1, points)[:, :, None]
