"""Building a SAM by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import samft.models
from samft.errors import ConfigError
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_sam


def test_nano_is_small():
    sam = build_sam("vit_nano")
    assert sum(p.numel() for p in sam.parameters()) == 1_691_600
    assert sam.config == ARCHITECTURES["vit_nano"]


def test_unknown_architecture():
    with pytest.raises(ConfigError) as caught:
        build_sam("vit-b")
    assert "unknown architecture 'vit-b'" in str(caught.value)
    assert "did you mean 'vit_b'" in str(caught.value)


def test_input_size():
    sam = build_sam("vit_nano", image_size=128)
    assert sam.image_size == 128
    assert sam.encode_image(torch.zeros(1, 3, 128, 128)).shape == (1, 128, 16, 16)


def test_input_size_that_does_not_fit():
    with pytest.raises(ConfigError, match="found: 250, expected: a multiple of 8"):
        build_sam("vit_nano", image_size=250)


def test_options_reach_the_encoder():
    sam = build_sam("vit_nano", drop_path=0.1, checkpoint_blocks=(4, 5))
    last = sam.image_encoder.layers[-1]
    assert last.blocks[-1].drop_path.rate == pytest.approx(0.1)
    assert last.checkpointed == [False, False, True, True]


def test_weights_from_a_file(tmp_path):
    """Built without random numbers, so every tensor has to come from the file or be set."""
    source = build_sam("vit_nano")
    torch.save(source.state_dict(), tmp_path / "nano.pth")
    sam = build_sam("vit_nano", tmp_path / "nano.pth")
    for key, tensor in source.state_dict().items():
        assert torch.equal(tensor, sam.state_dict()[key]), key
    for name, buffer in source.named_buffers():
        assert torch.equal(buffer, sam.get_buffer(name)), name
    assert all(p.requires_grad and p.device.type == "cpu" for p in sam.parameters())


def test_weights_at_another_input_size(tmp_path):
    torch.save(build_sam("vit_nano").state_dict(), tmp_path / "nano.pth")
    sam = build_sam("vit_nano", tmp_path / "nano.pth", image_size=192)
    assert sam.config.grid_size == 24
    assert sam.encode_image(torch.zeros(1, 3, 192, 192)).isfinite().all()


def test_the_package_exports_lazily():
    code = (
        "import sys, samft.models as m; assert 'torch' not in sys.modules; "
        "m.SamConfig, m.ARCHITECTURES; assert 'torch' not in sys.modules; "
        "m.build_sam, m.Sam; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(samft.models.__all__) == set(dir(samft.models))
    with pytest.raises(AttributeError, match="has no attribute 'bild_sam'"):
        samft.models.bild_sam  # noqa: B018
