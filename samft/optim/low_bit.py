"""AdamW whose running averages take 8 bits each, by `bitsandbytes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from samft._deps import require


def adamw_8bit(groups: Sequence[dict[str, Any]], *, lr: float) -> Optimizer:
    """Return AdamW with two bytes of state for each number that is trained, instead of eight.

    The two averages are quantised in blocks of 256 numbers, each scaled by its largest. Parameters
    of fewer than 4096 numbers (biases, norms, tokens) keep averages in float32, and with them the
    updates of `torch.optim.AdamW`. The state holds plain tensors: checkpoints of it load with
    `weights_only=True`.

    Args:
        groups: Parameter groups, each with `lr` and `weight_decay`.
        lr: Learning rate of groups without one.

    Raises:
        DependencyError: if `bitsandbytes` is not installed.

    Source: Dettmers et al. 2021, arXiv:2110.02861.
    """
    library = require(
        "bitsandbytes", extra="lowbit", purpose="keep the optimiser's state in 8 bits"
    )
    optimizer: Optimizer = library.optim.AdamW8bit(groups, lr=lr, betas=(0.9, 0.999))
    return optimizer
