"""Where the part of the encoder ends that training leaves alone, and what belongs to it."""

from __future__ import annotations

import pytest
import torch
from adapted_sams import CONFIGS, base, images, trained

from samft.models.adaptation.apply import adapt
from samft.models.adaptation.cut import EncoderCut
from samft.models.adaptation.settings import AdaptationSettings, AdapterSettings, LoraSettings
from samft.models.channels import ChannelSettings
from samft.models.registry import build_from_config


def blocks(*numbers):
    return AdaptationSettings(train=["mask_decoder"], blocks=numbers)


@pytest.mark.parametrize(
    ("settings", "stop"),
    [
        (AdaptationSettings(), None),
        (AdaptationSettings(train=["neck"]), 3),
        (blocks(2, 2), 2),
        (blocks(1, 1), 1),
        (blocks(0, 0), 0),
        (AdaptationSettings(lora=LoraSettings(blocks=(1, 2))), 1),
        (AdaptationSettings(train=[], lora=LoraSettings(blocks="none", decoder=True)), None),
        (AdaptationSettings(adapter=AdapterSettings(blocks=(2, 2))), 2),
        (AdaptationSettings(lora=LoraSettings(blocks=(2, 2)), train=["neck"]), 2),
        (AdaptationSettings(train=["norms"]), 0),
        (AdaptationSettings(train=["biases"]), 0),
        (AdaptationSettings(train=["positions"]), 0),
        (AdaptationSettings(train=["image_encoder"]), 0),
    ],
)
def test_the_cut_is_before_the_first_block_that_is_trained(settings, stop):
    assert adapt(base(), settings).cut.stop == stop


def test_a_merge_belongs_to_the_block_before_it():
    sam = base("tiny_vit")
    adapted = adapt(sam, blocks(3, 3))
    assert adapted.cut.stop == 3
    sam.image_encoder.layers[1].downsample.requires_grad_(requires_grad=True)
    assert EncoderCut.of(sam).stop == 1
    assert adapted.num_frozen_blocks == 1


def test_whatever_is_trained_in_front_leaves_nothing_to_cut():
    sam = base()
    sam.set_channels(ChannelSettings(count=5, mode="learned"))
    sam.requires_grad_(requires_grad=False)
    assert EncoderCut.of(sam).stop is None
    sam.channel_adapter.requires_grad_(requires_grad=True)
    assert EncoderCut.of(sam).stop == 0
    assert "channel_adapter.weight" in EncoderCut(sam=sam, stop=0).tensors()


@pytest.mark.parametrize("encoder", CONFIGS)
def test_the_tensors_are_those_that_the_lower_part_reads(encoder):
    """Independent of any list of names: a changed tensor must change the activations, or not."""
    sam = base(encoder)
    stop = 2
    cut = EncoderCut(sam=sam, stop=stop)
    below = cut.tensors()
    before = cut.lower(images(), None)
    every = dict(sam.named_parameters()) | dict(sam.named_buffers())
    for name, tensor in every.items():
        if tensor.dtype != torch.float32:
            continue  # numbers of batches and indices of biases
        kept = tensor.detach().clone()
        with torch.no_grad():
            tensor.copy_(tensor.flatten().roll(1).view_as(tensor) + 0.1)
        changed = not torch.equal(cut.lower(images(), None), before)
        assert changed <= (name in below), name
        if name in below and not name.endswith(("qkv.bias", "attention_biases")):
            assert changed, name  # the bias of the keys has no influence on attention
        with torch.no_grad():
            tensor.copy_(kept)


@pytest.mark.parametrize("encoder", CONFIGS)
def test_training_leaves_the_lower_part_as_it_was(encoder):
    settings = AdaptationSettings(train=["neck", "mask_decoder"], blocks=(2, 2))
    before = {
        name: tensor.clone()
        for name, tensor in EncoderCut(sam=base(encoder), stop=2).tensors().items()
    }
    after = trained(settings, encoder).cut
    assert after.stop == 2
    assert before.keys() == after.tensors().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.tensors().items())


@pytest.mark.parametrize("encoder", CONFIGS)
def test_frozen_blocks_have_no_stochastic_depth(encoder):
    sam = build_from_config(CONFIGS[encoder], drop_path=0.5)
    sam.load_state_dict(base(encoder).state_dict())
    adapted = adapt(sam, AdaptationSettings(blocks=(2, 2)))
    adapted.train()
    lower = [adapted.cut.lower(images(), None) for _ in range(2)]
    assert torch.equal(*lower)
    assert sam.image_encoder.training
    whole = [adapted.cut.upper(lower[0]) for _ in range(8)]
    assert any(not torch.equal(whole[0], other) for other in whole)
