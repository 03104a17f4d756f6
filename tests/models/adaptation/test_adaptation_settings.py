"""What can be asked for, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch

from samft.errors import ConfigError
from samft.models.adaptation.presets import PRESETS, check_share, preset
from samft.models.adaptation.settings import AdaptationSettings, AdapterSettings, LoraSettings
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_from_config


def refused(values):
    with pytest.raises(ConfigError) as error:
        AdaptationSettings.from_dict(values)
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    return text


def test_plain_data_and_back():
    settings = AdaptationSettings(
        train=["mask_heads", "biases"],
        blocks=(-2, -1),
        lora=LoraSettings(targets=["k", "mlp"], rank=3, blocks=(0, 4), decoder=True),
        adapter=AdapterSettings(kind="medsa", dim=7, blocks="upper_half"),
    )
    settings.validate()
    plain = json.loads(json.dumps(settings.to_dict()))
    assert AdaptationSettings.from_dict(plain) == settings


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"trian": []}, ("unknown setting 'trian'", "adapt.trian", "did you mean 'train'")),
        ({"train": "mask_decoder"}, ("adapt.train", "a list of names")),
        ({"train": ["decoder"]}, ("no choice 'decoder'", "adapt.train", "'mask_decoder'")),
        ({"train": []}, ("nothing would be trained", "adapt.train")),
        ({"blocks": "upper"}, ("adapt.blocks", "'upper'", "'upper_half'", "[first, last]")),
        ({"blocks": [1]}, ("adapt.blocks", "two block numbers")),
        ({"blocks": [0.5, 1]}, ("adapt.blocks", "two block numbers")),
        ({"preset": "lorra"}, ("adapt.preset", "did you mean 'lora'")),
        ({"lora": 8}, ("adapt.lora", "the settings of lora")),
        ({"lora": {"rank": 0}}, ("adapt.lora.rank", "at least 1")),
        ({"lora": {"rank": True}}, ("adapt.lora.rank", "int")),
        ({"lora": {"targets": []}}, ("LoRA has nothing to update", "remove adapt.lora")),
        ({"lora": {"blocks": "none"}}, ("LoRA has nothing to update", "decoder false")),
        ({"lora": {"targets": ["qkv"]}}, ("adapt.lora.targets", "'qkv'")),
        ({"lora": {"variant": "qlora"}}, ("adapt.lora.variant", "rslora")),
        ({"adapter": {"dim": 0}}, ("adapt.adapter.dim", "at least 1")),
        ({"adapter": {"dim": "x"}}, ("adapt.adapter.dim", "int")),
        ({"adapter": {"blocks": "none"}}, ("adapters without a block", "adapt.adapter.blocks")),
    ],
)
def test_refusals(values, words):
    text = refused(values)
    for word in words:
        assert word in text, text


def test_no_such_preset():
    with pytest.raises(ConfigError, match="no preset is called 'lorra'.*\n.*\n?.*late_lora"):
        preset("lorra")


@pytest.mark.parametrize("arch", sorted(ARCHITECTURES))
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_train_their_share_of_every_architecture(name, arch):
    from samft.models.adaptation.apply import adapt

    with torch.device("meta"):
        sam = build_from_config(ARCHITECTURES[arch])
        adapt(sam, preset(name))
    assert PRESETS[name].settings.preset == name


def test_a_preset_must_train_its_share():
    with torch.device("meta"):
        sam = build_from_config(ARCHITECTURES["vit_nano"])
    with pytest.raises(ConfigError) as error:
        check_share(sam, preset("lora"))  # nothing is frozen yet
    text = str(error.value)
    for word in ("'lora'", "image_encoder", "100.000%", "25.000%", "adapt.preset to custom"):
        assert word in text, text
    with pytest.raises(ConfigError, match="nothing would be trained"):
        check_share(sam.requires_grad_(False), AdaptationSettings())
