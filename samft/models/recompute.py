"""Run blocks again in the backward pass instead of keeping what they computed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def is_recomputed(index: int, blocks: bool | tuple[int, int]) -> bool:
    """Say whether the block of this index is to be run again.

    Args:
        index: Number of the block, counted from 0.
        blocks: All, none, or those from `first` to `last`, both included.
    """
    if isinstance(blocks, bool):
        return blocks
    first, last = blocks
    return first <= index <= last


def run_block(block: nn.Module, x: Tensor, *, again: bool) -> Tensor:
    """Return `block(x)`; without a graph where nothing before or in the block is trained.

    Args:
        block: Takes and gives one tensor.
        x: Its input.
        again: Keep only `x` for the backward pass and run the block once more there. The result,
            the gradients and the running statistics of batch norms are the same either way.
    """
    wanted = torch.is_grad_enabled() and (
        x.requires_grad or any(parameter.requires_grad for parameter in block.parameters())
    )
    if not wanted:
        with torch.no_grad():
            result: Tensor = block(x)
    elif not again:
        result = block(x)
    else:
        norms = [module for module in block.modules() if isinstance(module, _BatchNorm)]
        result = checkpoint(
            block,
            x,
            use_reentrant=False,
            context_fn=lambda: (nullcontext(), _statistics_kept(norms)),
        )
    return result


@contextmanager
def _statistics_kept(norms: list[_BatchNorm]) -> Iterator[None]:
    """Let batch norms normalise as they do, but not count the batch: they have seen it before.

    With `track_running_stats` off they would save fewer tensors than in the first run, which
    torch refuses; averages that move by nothing leave the computation as it is.
    """
    held = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, momentum, count in held:
            norm.momentum, norm.num_batches_tracked = momentum, count
