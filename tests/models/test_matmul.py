"""The fast linear layer is `torch.nn.Linear`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from samft.models import matmul
from samft.models.matmul import Linear, linear, product, uses_onednn

needs_onednn = pytest.mark.skipif(
    not matmul._onednn_is_faster(), reason="oneDNN is used on AVX-512 CPUs only"
)


@pytest.fixture(params=[True, False], ids=["onednn", "plain"])
def path(request, monkeypatch):
    """Run a test on oneDNN, where the machine has it, and on torch's own products."""
    if request.param and not matmul._onednn_is_faster():
        pytest.skip("oneDNN is used on AVX-512 CPUs only")
    monkeypatch.setattr(matmul, "_onednn_is_faster", lambda: request.param)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 50, 24), (200, 24), (5, 24), (0, 24), (2, 0, 24)])
def test_equals_torch(path, shape, with_bias):
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(40, 24, requires_grad=True)
    bias = torch.randn(40, requires_grad=True) if with_bias else None
    inputs = [x, weight] if bias is None else [x, weight, bias]
    ours, theirs = linear(x, weight, bias), F.linear(x, weight, bias)
    upstream = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for a, b in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_any_memory_layout(path):
    """Transposed and cut-out inputs, and the gradient that `sum` expands from one number."""
    x = torch.randn(24, 300).t()[:, ::2].requires_grad_()
    weight = torch.randn(12, 80).t()[::2].requires_grad_()
    ours, theirs = linear(x, weight), F.linear(x, weight)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for a, b in zip(
        torch.autograd.grad(ours.sum(), [x, weight]),
        torch.autograd.grad(theirs.sum(), [x, weight]),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lead", [(), (1, 1), (2, 3)])
def test_product(path, lead):
    a, b = torch.randn(*lead, 70, 20), torch.randn(*lead, 90, 20)
    torch.testing.assert_close(product(a, b), a @ b.mT, rtol=1e-4, atol=1e-4)
    gaps = torch.randn(*lead, 90, 40)[..., ::2]
    torch.testing.assert_close(product(a, gaps), a @ gaps.mT, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("frozen", "kept"), [("weight", "weight"), ("x", "x"), (None, "both")])
@needs_onednn
def test_keeps_only_what_the_backward_pass_needs(frozen, kept):
    x, weight = torch.randn(100, 8, requires_grad=True), nn.Parameter(torch.randn(4, 8))
    if frozen is not None:
        {"x": x, "weight": weight}[frozen].requires_grad_(False)
    saved = []
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor.data_ptr()) or tensor, lambda tensor: tensor
    )
    with hooks:
        linear(x, weight)
    expected = {"weight": {weight}, "x": {x}, "both": {x, weight}}[kept]
    assert set(saved) == {tensor.data_ptr() for tensor in expected}


@needs_onednn
def test_onednn_is_left_to_eager_float32():
    single, double = torch.randn(2, 2), torch.randn(2, 2, dtype=torch.float64)
    assert uses_onednn(single)
    assert not uses_onednn(single, double)
    assert not uses_onednn(torch.empty(2, 2, device="meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not uses_onednn(single)


def test_exports_as_an_ordinary_linear_layer():
    program = torch.export.export(Linear(8, 4), (torch.randn(100, 8),))
    targets = {str(node.target) for node in program.graph.nodes}
    assert "aten.linear.default" in targets
    assert not any("mkldnn" in target for target in targets)


def test_adapters_recognise_it():
    assert isinstance(Linear(2, 3), nn.Linear)
    assert set(Linear(2, 3).state_dict()) == {"weight", "bias"}
