"""Working in pieces changes neither the result nor the gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samft.models import pieces
from samft.models.pieces import by_rows


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Make pieces of six tokens: one row of a map that is 4, 5 or 6 wide."""
    monkeypatch.setattr(pieces, "_PIECE_TOKENS", 6)


def gradients(function, x, module):
    x = x.detach().requires_grad_()
    module.zero_grad(set_to_none=True)
    output = function(x)
    upstream = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    output.backward(upstream)
    return [output.detach(), x.grad, *(parameter.grad for parameter in module.parameters())]


@pytest.mark.parametrize("num_rows", [None, 1, 2, 5, 9])
def test_equals_one_pass(num_rows):
    branch = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 3)).double()
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    parameters = list(branch.parameters())
    found = gradients(
        lambda x: by_rows(branch, x, num_rows=num_rows, parameters=parameters), x, branch
    )
    for ours, theirs in zip(found, gradients(branch, x, branch), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_frozen_and_unused_parameters():
    used, frozen, unused = (nn.Parameter(torch.randn(3)) for _ in range(3))
    frozen.requires_grad_(False)
    x = torch.randn(1, 4, 5, 3)
    by_rows(lambda x: x * used + frozen, x, parameters=(frozen, used, unused)).sum().backward()
    torch.testing.assert_close(used.grad, x.sum((0, 1, 2)))
    assert frozen.grad is None
    assert not unused.grad.any()


def test_dropout_is_the_same_in_both_runs():
    weight = nn.Parameter(torch.tensor(2.0))
    x = torch.randn(1, 6, 6, 3)
    output = by_rows(lambda x: nn.functional.dropout(x, 0.5) * weight, x, parameters=(weight,))
    state = torch.get_rng_state()
    output.sum().backward()
    torch.testing.assert_close(weight.grad, output.sum() / 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_the_input_is_kept():
    kept = []
    branch = nn.Sequential(nn.Linear(3, 100), nn.GELU(), nn.Linear(100, 3))
    x = torch.randn(1, 6, 6, 3)
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    )
    with hooks:
        by_rows(branch, x, parameters=list(branch.parameters()))
    assert {tensor.data_ptr() for tensor in kept} == {
        tensor.data_ptr() for tensor in (x, *branch.parameters())
    }


def test_autocast_holds_in_both_runs():
    seen = []
    linear = nn.Linear(3, 3)

    def branch(x):
        answer = linear(x)
        seen.append(answer.dtype)
        return answer

    x = torch.randn(1, 6, 6, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = by_rows(branch, x, parameters=list(linear.parameters()))
    output.sum().backward()
    assert len(seen) == 12
    assert set(seen) == {torch.bfloat16}


def test_small_maps_go_in_one_piece():
    calls = []
    by_rows(lambda x: calls.append(x.shape) or x, torch.randn(5, 2, 3, 4))
    assert calls == [(5, 2, 3, 4)]
