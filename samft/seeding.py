"""Seeds as pure functions of where we are, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

import numpy as np
import torch


def derive_seed(*parts: int) -> int:
    """Mix numbers such as (base seed, step, rank) into one well-spread 63-bit seed.

    Args:
        parts: Non-negative integers; different parts give unrelated seeds.
    """
    state = np.random.SeedSequence(parts).generate_state(2, np.uint32)
    return (int(state[0]) << 31) ^ int(state[1])


def generator_for(*parts: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on `device` seeded by `derive_seed(*parts)`."""
    return torch.Generator(device).manual_seed(derive_seed(*parts))
