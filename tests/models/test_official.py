"""The package's model, built without its registry: the same model, at any input size."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import torch
from models.tiny_sam import TINY, TINY_T, tiny_sam
from parity.reference_models import official_sam

from samft.errors import CheckpointError, DependencyError
from samft.models import official
from samft.models.checkpoint import save_state_dict
from samft.models.config import ARCHITECTURES
from samft.models.official import build_official, load_official, package_name, why_not

PTH = Path("tuned.pth")


@pytest.fixture
def no_package(monkeypatch):
    real = util.find_spec
    monkeypatch.setattr(
        official, "find_spec", lambda name: None if name == official.PACKAGE else real(name)
    )


@pytest.mark.parametrize("arch", ["vit_b", "vit_l", "vit_h"])
def test_it_is_what_the_registry_builds(arch):
    with torch.device("meta"):
        ours = build_official(ARCHITECTURES[arch])
        theirs = official._builders().sam_model_registry[arch]()
    shapes = [
        {key: value.shape for key, value in model.state_dict().items()} for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    assert repr(ours) == repr(theirs)  # norms with their epsilons, activations
    for one, other in zip(ours.image_encoder.blocks, theirs.image_encoder.blocks, strict=True):
        assert one.window_size == other.window_size
        assert one.attn.num_heads == other.attn.num_heads
    assert ours.prompt_encoder.input_image_size == theirs.prompt_encoder.input_image_size


def test_it_needs_no_torchvision_and_touches_no_other_import(monkeypatch):
    for name in [name for name in sys.modules if official._ALIAS in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    before = {name for name in sys.modules if name.startswith(official.PACKAGE)}
    build_official(TINY)
    assert {name for name in sys.modules if name.startswith(official.PACKAGE)} == before


def test_a_file_is_loaded_strictly(tmp_path):
    sam = tiny_sam()
    save_state_dict(sam, tmp_path / "w.pth")
    found, expected = load_official(TINY, tmp_path / "w.pth"), official_sam(TINY)
    expected.load_state_dict(sam.state_dict())
    assert repr(found) == repr(expected)
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value), key
    state = sam.state_dict()
    state["mask_decoder.another"] = torch.zeros(1)
    torch.save(state, tmp_path / "more.pth")
    with pytest.raises(CheckpointError, match="segment_anything refuses the file") as error:
        load_official(TINY, tmp_path / "more.pth")
    assert "more.pth" in str(error.value)
    assert "mask_decoder.another" in str(error.value)
    assert len(str(error.value).splitlines()) <= 3
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_official(replace(TINY, image_size=256), tmp_path / "w.pth")


def test_why_not():
    assert why_not(TINY, PTH) is None
    assert why_not(TINY_T, PTH) == "it has no tiny_t"
    assert why_not(TINY, Path("w.safetensors")) == "it reads .pth, not .safetensors"


def test_without_the_package(no_package):
    assert why_not(TINY, PTH) == 'it is not installed: pip install "samft[export]"'
    with pytest.raises(DependencyError, match=r"'segment_anything' is needed to reload a file"):
        build_official(TINY)


def test_the_name_says_which_version(monkeypatch):
    assert package_name() == "segment_anything 1.0"
    monkeypatch.setattr(official, "PACKAGE", "segment_anything_elsewhere")
    assert package_name() == "segment_anything_elsewhere"
