"""Running blocks again in the backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from samft.models.recompute import is_recomputed, run_block


def block(**options):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, **options), nn.Dropout(0.5))


def step(module, *, again):
    """Return what a training step leaves: the output, the gradients and the statistics."""
    torch.manual_seed(1)
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    output = run_block(module, x, again=again)
    (output**2).sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    return [output.detach(), x.grad, *gradients, *(b.clone() for b in module.buffers())]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"momentum": None}, {"track_running_stats": False}], ids=str
)
def test_a_second_run_leaves_no_trace(options, training):
    plain = block(**options).train(training)
    found = step(copy.deepcopy(plain), again=True)
    for ours, theirs in zip(found, step(plain, again=False), strict=True):
        assert torch.equal(ours, theirs)


def test_the_block_really_runs_twice():
    module, runs = block(), []
    module[0].register_forward_hook(lambda *_: runs.append(1))
    step(module, again=True)
    assert len(runs) == 2


def test_batch_norms_count_again_after_a_failure():
    module, runs = block(), []

    def stop_the_second(*_):
        runs.append(1)
        if len(runs) == 2:
            raise RuntimeError("out of memory")

    module[0].register_forward_hook(stop_the_second)
    output = run_block(module, torch.randn(2, 3, 5, 5, requires_grad=True), again=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        output.sum().backward()
    assert module[1].momentum == 0.1
    assert module[1].num_batches_tracked == 1
    assert "1.num_batches_tracked" in module.state_dict()


def test_nothing_is_kept_without_gradients():
    with torch.no_grad():
        assert not run_block(block(), torch.randn(2, 3, 5, 5), again=True).requires_grad


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [(True, [0, 1, 2, 3]), (False, []), ((1, 2), [1, 2]), ((3, 3), [3]), ((3, 1), [])],
)
def test_which_blocks(blocks, expected):
    assert [index for index in range(4) if is_recomputed(index, blocks)] == expected
