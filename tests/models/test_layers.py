"""Shared layers against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from samft.models.layers import DropPath, ReluMlp, downsample_2x2, upsample_2x2


def test_downsampling_is_the_convolution():
    conv = nn.Conv2d(3, 5, kernel_size=2, stride=2)
    x = torch.randn(2, 8, 6, 3)
    expected = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(downsample_2x2(x, conv), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_upsampling_is_the_transposed_convolution(bias):
    conv = nn.ConvTranspose2d(6, 4, kernel_size=2, stride=2, bias=bias)
    x = torch.randn(2, 5, 3, 6)
    found = upsample_2x2(x, conv).view(2, 5, 3, 2, 2, 4)
    found = found.permute(0, 5, 1, 3, 2, 4).reshape(2, 4, 10, 6)
    expected = conv(x.permute(0, 3, 1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    layer, x = DropPath(0.25), torch.ones(4000, 2, 3)
    dropped = layer(x)
    per_sample = dropped.flatten(1)
    assert per_sample.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert dropped.mean() == pytest.approx(1.0, abs=0.03)


def test_drop_path_does_nothing_outside_training_or_at_rate_zero():
    x = torch.randn(3, 2)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath(0.0)(x) is x


def test_relu_mlp_has_no_activation_at_the_end():
    mlp = ReluMlp(4, 8, 8, 2)
    with torch.no_grad():
        mlp.layers[-1].weight.zero_()
        mlp.layers[-1].bias.fill_(-3.0)
    assert torch.equal(mlp(torch.randn(5, 4)), torch.full((5, 2), -3.0))
    assert [layer.out_features for layer in mlp.layers] == [8, 8, 2]
