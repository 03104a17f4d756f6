"""All variants of decomposed attention are the same function."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.models import chunked_attention
from samft.models.attention import decomposed_attention, merge_windows, partition_windows


def random_inputs(batch, size, window, *, heads=2, dim=3, dtype=torch.float64):
    """qkv, padding and both position tables, all with gradients."""
    shapes = [
        (batch, *size, 3 * heads * dim),
        (1, 3 * heads * dim),
        (2 * window[0] - 1, dim),
        (2 * window[1] - 1, dim),
    ]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def attend(inputs, window, variant, heads=2):
    qkv, padding, rel_pos_h, rel_pos_w = inputs
    return decomposed_attention(
        qkv,
        padding,
        rel_pos_h=rel_pos_h,
        rel_pos_w=rel_pos_w,
        num_heads=heads,
        window_size=window,
        variant=variant,
    )


def output_and_gradients(inputs, window, variant, heads=2):
    """Return the output and the gradients of all inputs for a fixed random upstream gradient."""
    output = attend(inputs, window, variant, heads)
    upstream = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    # where no window is padded, `eager` does not touch the padding
    gradients = torch.autograd.grad(output, inputs, upstream, materialize_grads=True)
    return [output.detach(), *gradients]


def reference(inputs, window, heads):
    """The definition, one query at a time."""
    qkv, padding, rel_pos_h, rel_pos_w = inputs
    batch, height, width, triple = qkv.shape
    t_h, t_w = window
    dim = triple // 3 // heads
    rows, columns = -(-height // t_h) * t_h, -(-width // t_w) * t_w
    padded = padding.expand(batch, rows, columns, -1).clone()
    padded[:, :height, :width] = qkv
    q, k, v = padded.view(batch, rows, columns, 3, heads, dim).unbind(3)
    out = torch.zeros(batch, height, width, heads, dim, dtype=qkv.dtype)
    for b, y, x, n in torch.cartesian_prod(*map(torch.arange, (batch, height, width, heads))):
        y0, x0 = y // t_h * t_h, x // t_w * t_w
        logits = torch.stack(
            [
                q[b, y, x, n] @ k[b, y0 + i, x0 + j, n] / dim**0.5
                + q[b, y, x, n] @ rel_pos_h[(y - y0) - i + t_h - 1]
                + q[b, y, x, n] @ rel_pos_w[(x - x0) - j + t_w - 1]
                for i in range(t_h)
                for j in range(t_w)
            ]
        )
        values = v[b, y0 : y0 + t_h, x0 : x0 + t_w, n].reshape(-1, dim)
        out[b, y, x, n] = logits.softmax(0) @ values
    return out.flatten(3)


@pytest.mark.parametrize("variant", ["eager", "sdpa", "chunked", "auto"])
def test_every_variant_follows_the_definition(variant):
    inputs = [tensor.detach() for tensor in random_inputs(2, (5, 4), (2, 3))]
    torch.testing.assert_close(
        attend(inputs, (2, 3), variant), reference(inputs, (2, 3), 2), rtol=1e-10, atol=1e-10
    )


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    window=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    heads=st.integers(1, 3),
    chunk=st.sampled_from([1, 7, 64, 1 << 20]),
)
def test_variants_agree_for_any_shape_and_chunk(batch, size, window, heads, chunk):
    inputs = random_inputs(batch, size, window, heads=heads)
    expected = output_and_gradients(inputs, window, "eager", heads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunked_attention, "_CHUNK_ELEMENTS", chunk)
        chunked = output_and_gradients(inputs, window, "chunked", heads)
    sdpa = output_and_gradients(inputs, window, "sdpa", heads)
    for other in (chunked, sdpa):
        for ours, theirs in zip(other, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("chunk", [4, 40, 1 << 20])
def test_chunked_gradient_by_finite_differences(monkeypatch, chunk):
    monkeypatch.setattr(chunked_attention, "_CHUNK_ELEMENTS", chunk)
    inputs = random_inputs(2, (3, 2), (2, 2), dim=2)
    assert torch.autograd.gradcheck(lambda *x: attend(x, (2, 2), "chunked"), inputs)


def test_chunked_agrees_at_the_size_of_a_global_block():
    """64 x 64 tokens in float32, where it works on a few rows of one head at a time."""
    inputs = random_inputs(1, (64, 64), (64, 64), heads=1, dim=16, dtype=torch.float32)
    with torch.no_grad():
        inputs[2].mul_(0.2)
        inputs[3].mul_(0.2)
    expected = output_and_gradients(inputs, (64, 64), "eager", heads=1)
    found = output_and_gradients(inputs, (64, 64), "chunked", heads=1)
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().max()
        assert (ours - theirs).abs().max() <= 1e-4 * scale


def test_chunked_keeps_nothing_of_the_size_of_the_logits():
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    inputs = random_inputs(1, (32, 32), (32, 32), dim=4)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attend(inputs, (32, 32), "chunked")
    assert max(kept) == inputs[0].numel()


@pytest.mark.parametrize("variant", ["eager", "sdpa", "chunked"])
def test_half_precision_stays_close(variant):
    inputs = random_inputs(1, (6, 6), (4, 4), dim=8, dtype=torch.float32)
    expected = attend(inputs, (4, 4), "eager")
    half = [inputs[0].bfloat16(), inputs[1].bfloat16(), *inputs[2:]]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attend(half, (4, 4), variant)
    found.float().sum().backward()
    assert found.dtype in (torch.bfloat16, torch.float32)
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()
    assert inputs[2].grad.abs().sum() > 0


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_merging_undoes_partitioning(size, window):
    x = torch.randn(2, *size, 3)
    windows = partition_windows(x, window, padding=torch.full((1, 3), 7.0))
    assert windows.shape[1] == window[0] * window[1]
    assert torch.equal(merge_windows(windows, window, size=size), x)
    assert (windows == 7.0).sum() == windows.numel() - x.numel()
