"""Gradients worked out piece by piece equal those of the whole, to everything outside."""

import pytest
import torch
from torch import Tensor, nn

from samft.piecewise import piecewise_sum


def problem() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(4, 3), torch.randn(5, 4, requires_grad=True), torch.randn(5, 3)


def whole(layer: nn.Linear, x: Tensor, y: Tensor) -> Tensor:
    return (layer(x.sin()) - y).square().sum()


def in_pieces(layer: nn.Linear, x: Tensor, y: Tensor, size: int) -> Tensor:
    def pieces(shared: Tensor, add) -> None:
        for rows in torch.arange(5).split(size):
            add((layer(shared[rows]) - y[rows]).square().sum())

    return piecewise_sum(pieces, x.sin(), list(layer.parameters()))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_value_and_gradients(size: int) -> None:
    layer, x, y = problem()
    expected = torch.autograd.grad(whole(layer, x, y), [x, *layer.parameters()])
    loss = in_pieces(layer, x, y, size)
    torch.testing.assert_close(loss, whole(layer, x, y))
    found = torch.autograd.grad(2 * loss, [x, *layer.parameters()])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, 2 * theirs)


def test_only_one_graph_is_alive_at_a_time() -> None:
    layer, x, y = problem()
    alive = []

    def pieces(shared: Tensor, add) -> None:
        for rows in torch.arange(5).split(1):
            loss = (layer(shared[rows]) - y[rows]).square().sum()
            add(loss)
            with pytest.raises(RuntimeError, match="second time"):
                loss.backward()
            alive.append(loss)

    piecewise_sum(pieces, x, list(layer.parameters()))
    assert len(alive) == 5


def test_a_frozen_source_and_unused_parameters() -> None:
    layer, x, y = problem()
    unused = nn.Parameter(torch.ones(2))

    def pieces(shared: Tensor, add) -> None:
        add((layer(shared) - y).square().sum())

    loss = piecewise_sum(pieces, x.detach(), [*layer.parameters(), unused])
    loss.backward()
    assert x.grad is None
    assert torch.equal(unused.grad, torch.zeros(2))  # not None: every process has the same ones
    assert layer.weight.grad.abs().sum() > 0


def test_without_gradients_it_is_a_sum() -> None:
    layer, x, y = problem()
    with torch.no_grad():
        loss = in_pieces(layer, x, y, 2)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, whole(layer, x, y).detach())


def test_no_pieces() -> None:
    layer, x, _ = problem()
    loss = piecewise_sum(lambda shared, add: None, x, list(layer.parameters()))
    loss.backward()
    assert float(loss) == 0
    assert not layer.weight.grad.any()


def test_half_precision_keeps_small_gradients() -> None:
    weight = nn.Parameter(torch.ones(8, 8))
    x = torch.full((4, 8), 1e-3)

    def loss(shared: Tensor) -> Tensor:
        return 1e-4 * (shared @ weight).float().mean()

    with torch.autocast("cpu", dtype=torch.float16):
        plain = torch.autograd.grad(loss(x), weight)[0]
        ours = piecewise_sum(lambda shared, add: add(loss(shared)), x, [weight])
    ours.backward()
    expected = 1e-4 * 1e-3 / 8
    assert plain.abs().max() == 0 or (plain - expected).abs().max() > 0.1 * expected
    torch.testing.assert_close(weight.grad, torch.full((8, 8), expected), rtol=2e-3, atol=0)
