"""A merged model answers like the adapted one and has the keys of a stock SAM."""

from __future__ import annotations

import pytest
import torch
from adapted_sams import answers, base, difference, lora, trained
from hypothesis import given, settings
from hypothesis import strategies as st

from samft.errors import CheckpointError, ConfigError
from samft.models.adaptation.lora import lora_layers
from samft.models.adaptation.merge import merge, merged
from samft.models.adaptation.settings import AdaptationSettings, AdapterSettings, LoraSettings

TOLERANCE = 1e-5


def assert_merges(adapted, encoder):
    sam, stock = adapted.sam, base(encoder)
    before = answers(sam)
    assert difference(answers(stock), before) > 1e-3  # it has learned something to be merged
    plain = merged(sam)
    assert list(plain.state_dict()) == list(stock.state_dict())
    assert difference(before, answers(plain)) < TOLERANCE
    assert difference(before, answers(sam)) == 0  # the adapted one stays
    stock.load_state_dict(plain.state_dict())
    assert difference(before, answers(stock)) < TOLERANCE


@pytest.mark.parametrize("encoder", ["vit", "tiny_vit"])
@pytest.mark.parametrize("variant", ["plain", "dora", "rslora"])
def test_all_layers(variant, encoder):
    targets = ["q", "k", "v", "out", "mlp"]
    adapted = trained(lora(targets=targets, variant=variant, decoder=True, rank=4), encoder)
    assert_merges(adapted, encoder)


@settings(deadline=None, max_examples=15)
@given(
    targets=st.sets(st.sampled_from(["q", "k", "v", "out", "mlp"]), min_size=1),
    variant=st.sampled_from(["plain", "dora", "rslora"]),
    encoder=st.sampled_from(["vit", "tiny_vit"]),
    blocks=st.sampled_from(["all", "upper_half", (-1, -1), (1, 2), "none"]),
    rank=st.integers(1, 5),
)
def test_any_choice(targets, variant, encoder, blocks, rank):
    choice = LoraSettings(
        targets=sorted(targets),
        variant=variant,
        blocks=blocks,
        decoder=blocks == "none",
        rank=rank,
        alpha=rank / 2,
    )
    assert_merges(trained(AdaptationSettings(train=["biases"], lora=choice), encoder), encoder)


def test_rows_that_are_not_updated_stay_to_the_bit():
    for variant in ("plain", "dora", "rslora"):
        sam = trained(lora(targets=["v"], variant=variant)).sam
        weight = base().image_encoder.blocks[0].attn.qkv.weight
        merge(sam)
        found = sam.image_encoder.blocks[0].attn.qkv.weight
        assert torch.equal(found[:64], weight[:64])
        assert not torch.equal(found[64:], weight[64:])


def test_a_plain_model_stays():
    sam = base()
    before = answers(sam)
    merge(sam)
    assert difference(before, answers(sam)) == 0


def test_bottlenecks_refuse_and_leave_the_model():
    both = AdaptationSettings(train=[], lora=LoraSettings(), adapter=AdapterSettings())
    sam = trained(both, steps=1).sam
    before = answers(sam)
    for attempt in (merge, merged):
        with pytest.raises(ConfigError) as error:
            attempt(sam)
        for word in ("non-linearity", "adapt.adapter", "train with LoRA"):
            assert word in str(error.value)
    assert difference(before, answers(sam)) == 0
    assert list(lora_layers(sam))


def test_diverged_lora_refuses():
    sam = trained(lora(), steps=1).sam
    name, layer = list(lora_layers(sam))[1]
    layer.lora_A["default"].weight.data[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match="not finite") as error:
        merge(sam)
    assert name in str(error.value)
    assert len(list(lora_layers(sam))) == 3


def test_diverged_weights_refuse_too():
    sam = trained(AdaptationSettings(train=["mask_decoder"]), steps=1).sam
    sam.mask_decoder.iou_token.weight.data[0, 0] = float("inf")
    with pytest.raises(CheckpointError, match="not finite") as error:
        merged(sam)
    assert "mask_decoder.iou_token.weight" in str(error.value)
    assert "take an earlier checkpoint" in str(error.value)
