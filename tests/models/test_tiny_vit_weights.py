"""MobileSAM's weights: recognised, loaded, saved, and told from SAM's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from tiny_sam import TINY, TINY_T, assert_same, tiny_sam

from samft.errors import CheckpointError, OutputError
from samft.models.checkpoint import read_state_dict, save_state_dict
from samft.models.config import ARCHITECTURES
from samft.models.huggingface import to_huggingface
from samft.models.position import adapt_position_tables
from samft.models.recognise import EncoderShape, family_of
from samft.models.registry import build_from_config, build_sam
from samft.models.strict import load_state_dict
from samft.models.weights import load_weights

HEAD = ("norm_head.weight", "norm_head.bias", "head.weight", "head.bias")


@pytest.fixture(scope="module")
def state():
    return {key: t.clone() for key, t in tiny_sam(seed=1, config=TINY_T).state_dict().items()}


def skeleton(arch, **changes):
    with torch.device("meta"):
        return build_from_config(replace(ARCHITECTURES[arch], **changes))


def refused(model, state, *words):
    with pytest.raises(CheckpointError) as error:
        load_state_dict(model, state, source="weights.pt")
    text = str(error.value)
    assert len(text.splitlines()) <= 3, text
    for word in ("weights.pt", *words):
        assert word in text, text


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_there_and_back(state, tmp_path, name):
    save_state_dict(tiny_sam(seed=1, config=TINY_T), tmp_path / name)
    sam = tiny_sam(seed=2, config=TINY_T)
    info = load_weights(sam, tmp_path / name)
    assert_same(dict(sam.state_dict()), state)
    assert (info.origin.layout, info.origin.ignored) == ("official", ())


def test_full_size_by_name(tmp_path):
    """Built without random numbers, so every tensor has to come from the file or be set."""
    torch.manual_seed(0)
    source = build_sam("vit_t")
    save_state_dict(source, tmp_path / "mobile_sam.pt")
    sam = build_sam("vit_t", tmp_path / "mobile_sam.pt", image_size=512)
    assert_same(dict(sam.state_dict()), dict(source.state_dict()))
    assert_same(dict(sam.named_buffers()), dict(source.named_buffers()))
    assert sam.image_size == 512


def test_counters_may_be_whole_numbers_and_nothing_else(state, tmp_path):
    key = "image_encoder.patch_embed.seq.0.bn.num_batches_tracked"
    torch.save(state | {key: torch.tensor(7)}, tmp_path / "w.pt")
    read, _ = read_state_dict(tmp_path / "w.pt")
    assert torch.equal(read[key], torch.tensor(7))
    for bad in (torch.tensor([7]), torch.tensor(7, dtype=torch.int32), torch.tensor(True)):
        torch.save(state | {key: bad}, tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match="found: torch"):
            read_state_dict(tmp_path / "w.pt")


def test_metadata(tmp_path):
    sam = build_from_config(replace(ARCHITECTURES["vit_t"], image_size=512))
    save_state_dict(sam, tmp_path / "model.safetensors")
    save_state_dict(sam.state_dict(), tmp_path / "state.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert (file.metadata()["arch"], file.metadata()["image_size"]) == ("vit_t", "512")
    with safe_open(tmp_path / "state.safetensors", "pt") as file:
        assert file.metadata()["arch"] == "vit_t"
        assert "image_size" not in file.metadata()  # no table of this encoder says it


def test_huggingface_has_no_such_encoder(state):
    with pytest.raises(OutputError, match="has no such image encoder") as error:
        to_huggingface(state)
    assert "TinyViT of width 8-16-24-32" in str(error.value)
    assert "save the weights in the official layout" in str(error.value)


# --- what nothing reads --------------------------------------------------------------------------


def without(state, unread):
    return {key: tensor for key, tensor in state.items() if not unread(key)}


def test_files_without_classifier_and_counters(state, caplog):
    rest = without(state, lambda key: ".head." in key or "norm_head." in key or "tracked" in key)
    sam = tiny_sam(seed=2, config=TINY_T)
    with caplog.at_level("INFO"):
        load_state_dict(sam, rest, source="weights.pt")
    found = sam.state_dict()
    assert_same({key: found[key] for key in rest}, rest)
    assert not any(found[key].any() for key in found.keys() - rest.keys())
    gone = len(state) - len(rest)
    assert f"weights.pt: {gone} values that nothing reads are not in it and set to" in caplog.text


def test_the_model_built_from_such_a_file_can_be_saved_again(state, tmp_path, monkeypatch):
    """It is built in uninitialised memory, which may look like NaN."""
    monkeypatch.setitem(ARCHITECTURES, "tiny_t", TINY_T)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    rest = without(state, lambda key: ".head." in key or "norm_head." in key)
    torch.save(rest, tmp_path / "w.pt")
    torch.use_deterministic_algorithms(True)  # fills new memory with NaN
    try:
        sam = build_sam("tiny_t", tmp_path / "w.pt")
    finally:
        torch.use_deterministic_algorithms(False)
    save_state_dict(sam, tmp_path / "again.pt")
    again, _ = read_state_dict(tmp_path / "again.pt")
    assert again.keys() == state.keys()
    assert {key for key in again if key not in rest} == {f"image_encoder.{name}" for name in HEAD}


def test_what_is_read_must_be_there(state):
    key = "image_encoder.layers.1.blocks.0.local_conv.bn.running_var"
    sam = tiny_sam(config=TINY_T)
    refused(sam, without(state, lambda name: name == key), f"1 missing ({key} (16,))")


def test_a_classifier_of_another_size_does_not_fit(state):
    key = "image_encoder.head.bias"
    sam = tiny_sam(config=TINY_T)
    refused(sam, state | {key: torch.zeros(21)}, f"{key} (21,) instead of (6,)")


# --- telling encoders apart ----------------------------------------------------------------------


def test_the_right_architecture_is_named_in_both_directions():
    plain, tiny = skeleton("vit_b"), skeleton("vit_t")
    refused(plain, tiny.state_dict(), "these are vit_t weights; use arch: vit_t")
    refused(tiny, plain.state_dict(), "these are vit_b weights; use arch: vit_b")
    half = without(tiny.state_dict(), lambda key: "head." in key)
    refused(plain, half, "these are vit_t weights; use arch: vit_t")


def test_what_the_shapes_say():
    shape = EncoderShape.of(skeleton("vit_t", image_size=256).state_dict())
    assert shape == EncoderShape(
        family="TinyViT",
        dims=(64, 128, 160, 320),
        depths=(2, 2, 6, 2),
        heads=(4, 5, 10),
        windows=(7, 14, 7),
        embed_dim=256,
    )
    assert shape.image_size is None
    assert shape.arch == "vit_t"


@pytest.mark.parametrize("config", [TINY, TINY_T, *ARCHITECTURES.values()], ids=lambda c: c.name)
def test_shapes_say_what_the_configuration_says(config):
    with torch.device("meta"):
        state = build_from_config(config).state_dict()
    assert EncoderShape.of(state) == EncoderShape.from_config(config)


def test_an_unknown_tiny_vit(state):
    refused(
        tiny_sam(),
        state,
        "no architecture of samft has such an image encoder: TinyViT of width 8-16-24-32, "
        "depth 1-1-2-1, 2-3-4 heads, embedding 32",
    )


def test_other_windows_are_another_architecture():
    encoder = replace(ARCHITECTURES["vit_t"].encoder, windows=(7, 7, 7, 7))
    weights = skeleton("vit_t", encoder=encoder).state_dict()
    assert EncoderShape.of(weights).arch is None
    refused(skeleton("vit_t"), weights, "layers.2.blocks.0.attn.attention_biases (5, 49) instead")


@pytest.mark.parametrize(
    "part", ["patch_embed.seq.2.", "layers.1.blocks.0.attn.", "downsample.", "neck.0."]
)
def test_half_an_encoder(state, part):
    rest = without(state, lambda key: part in key)
    assert EncoderShape.of(rest) is None
    refused(tiny_sam(config=TINY_T), rest, "missing", "the image encoder is not complete")


@pytest.mark.parametrize("stage", ["0", "4000000000", "9" * 5000])
def test_names_that_lead_nowhere(state, stage):
    key = f"image_encoder.layers.{stage}.blocks.0.c"
    assert EncoderShape.of({key: torch.zeros(())}) is None
    if stage != "0":
        refused(tiny_sam(config=TINY_T), state | {key: torch.zeros(1)}, "1 unexpected")


def test_hq_sam_with_this_encoder_is_hq_sam(state):
    assert family_of(state) is None
    key = "mask_decoder.hf_token.weight"
    refused(tiny_sam(config=TINY_T), state | {key: torch.zeros(1, 32)}, "these are HQ-SAM weights")


def test_there_are_no_tables_to_interpolate(state):
    adapted = adapt_position_tables(state, replace(TINY_T, image_size=256))
    assert all(adapted[key] is tensor for key, tensor in state.items())
