"""What is trained and what is not, and that the adapted layers are the ones that answer."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from adapted_sams import answers, backward, base, difference, images, lora, trained
from models.tiny_sam import assert_same

from samft.errors import ConfigError
from samft.models import pieces
from samft.models.adaptation.adapters import is_adapter
from samft.models.adaptation.apply import adapt
from samft.models.adaptation.lora import is_lora, lora_layers, official_name, qkv_rows
from samft.models.adaptation.merge import base_state_dict
from samft.models.adaptation.presets import preset, trainable_table
from samft.models.adaptation.settings import AdaptationSettings, AdapterSettings, LoraSettings
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam
from samft.module import SamModule

ENCODERS = ["vit", "tiny_vit"]


def trained_names(sam):
    return {official_name(key) for key, value in sam.named_parameters() if value.requires_grad}


def names(sam, *starts):
    return {key for key, _ in sam.named_parameters() if key.startswith(starts)}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_parts(encoder):
    sam = base(encoder)
    positions = [("pos_embed", "rel_pos_h", "rel_pos_w"), ("attention_biases",)]
    expected = {
        "image_encoder": names(sam, "image_encoder")
        - names(sam, "image_encoder.head", "image_encoder.norm_head"),
        "neck": names(sam, "image_encoder.neck."),
        "prompt_encoder": names(sam, "prompt_encoder."),
        "mask_decoder": names(sam, "mask_decoder."),
        "mask_heads": names(sam, "mask_decoder.") - names(sam, "mask_decoder.transformer."),
        "mask_tokens": {"mask_decoder.mask_tokens.weight", "mask_decoder.iou_token.weight"},
        "positions": {
            key
            for key, _ in sam.named_parameters()
            if key.endswith(positions[encoder == "tiny_vit"])
        },
        "biases": {key for key, _ in sam.named_parameters() if key.endswith(".bias")}
        - names(sam, "image_encoder.head", "image_encoder.norm_head"),
    }
    for part, wanted in expected.items():
        adapted = adapt(sam, AdaptationSettings(train=[part]))
        assert wanted
        assert trained_names(sam) == wanted, part
        assert adapted.frozen == tuple(
            component
            for component in ("image_encoder", "prompt_encoder", "mask_decoder")
            if not any(key.startswith(component) for key in wanted)
        )


def test_tokens_and_norms():
    sam = base()
    adapt(sam, AdaptationSettings(train=["prompt_tokens"]))
    assert len(trained_names(sam)) == 6
    adapt(sam, AdaptationSettings(train=["norms"]))
    found = trained_names(sam)
    assert {"image_encoder.blocks.0.norm1.weight", "image_encoder.neck.3.bias"} <= found
    assert "mask_decoder.output_upscaling.1.weight" in found
    assert all(sam.get_parameter(key).ndim == 1 for key in found)


@pytest.mark.parametrize(
    ("blocks", "expected", "frozen"),
    [("upper_half", {1, 2}, 1), ((0, 0), {0}, 0), ((-1, -1), {2}, 2), ("all", {0, 1, 2}, 0)],
)
def test_blocks(blocks, expected, frozen):
    sam = base()
    adapted = adapt(sam, AdaptationSettings(train=[], blocks=blocks))
    found = {int(key.split(".")[2]) for key in trained_names(sam)}
    assert found == expected
    assert all(key.startswith("image_encoder.blocks.") for key in trained_names(sam))
    assert adapted.num_frozen_blocks == frozen


def test_blocks_of_tiny_vit_run_over_the_stages_and_take_the_merge_after_them():
    sam = base("tiny_vit")
    adapted = adapt(sam, AdaptationSettings(train=[], blocks=(1, 2)))
    assert trained_names(sam) == names(
        sam, "image_encoder.layers.1.", "image_encoder.layers.2.blocks.0."
    )
    assert adapted.num_frozen_blocks == 1
    assert adapt(sam, AdaptationSettings()).num_frozen_blocks == 5
    assert adapt(sam, AdaptationSettings(train=["image_encoder"])).num_frozen_blocks == 0


@pytest.mark.parametrize("blocks", [(0, 3), (2, 1), (-4, -1)])
def test_no_such_blocks(blocks):
    with pytest.raises(ConfigError) as error:
        adapt(base(), AdaptationSettings(blocks=blocks))
    for word in ("adapt.blocks", str(list(blocks)), "0 to 2"):
        assert word in str(error.value)


def test_table():
    sam = base()
    adapt(sam, AdaptationSettings(train=["prompt_encoder"], lora=LoraSettings(rank=2)))
    rows = {row.part: row for row in trainable_table(sam)}
    # (in + out) x rank, out being all of q, k and v
    assert rows["image_encoder"].trained == 3 * 2 * (32 + 96)
    assert rows["prompt_encoder"].share == 1.0
    assert rows["mask_decoder"].trained == 0
    assert rows["mask_decoder"].of == sum(p.numel() for p in sam.mask_decoder.parameters())


@pytest.mark.parametrize("variant", ["plain", "dora", "rslora"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_lora_starts_as_no_change_and_every_part_of_it_learns(encoder, variant):
    sam = base(encoder)
    before, state = answers(sam), {key: value.clone() for key, value in sam.state_dict().items()}
    settings = lora(targets=["q", "v", "out", "mlp"], variant=variant, decoder=True, dropout=0.2)
    adapted = adapt(sam, settings)
    assert difference(before, answers(sam)) < 1e-5
    assert_same(base_state_dict(sam), state)
    assert trained_names(sam)
    assert all(is_lora(key) for key in trained_names(sam))
    adapted.train()
    for _, layer in lora_layers(sam):
        torch.nn.init.normal_(layer.lora_B["default"].weight)
    backward(sam)
    silent = [k for k, p in sam.named_parameters() if p.requires_grad and not p.grad.any()]
    assert silent == []
    assert all(p.grad is None for p in sam.parameters() if not p.requires_grad)


def test_lora_reaches_layers_that_are_worked_on_in_pieces(monkeypatch):
    """On a CPU a large map's MLP is run again in backward, outside of the graph."""
    again = []
    monkeypatch.setattr(pieces, "_PIECE_TOKENS", 16)
    run_again = pieces._run_again
    monkeypatch.setattr(pieces, "_run_again", lambda *args: again.append(1) or run_again(*args))
    for settings in (
        lora(targets=["mlp"], dropout=0.3),
        AdaptationSettings(train=[], adapter=AdapterSettings()),
    ):
        adapted = trained(settings, steps=1)
        adapted.train()
        backward(adapted.sam)
        grads = [p.grad for p in adapted.sam.parameters() if p.requires_grad]
        assert grads
        assert all(bool(grad.any()) for grad in grads)
    assert again


@pytest.mark.parametrize("encoder", ENCODERS)
def test_only_the_chosen_rows_of_a_fused_projection_change(encoder):
    """Queries and values change, keys keep their exact value, in the layout of each encoder."""
    adapted = trained(lora(targets=["q", "v"]), encoder)
    path, layer = next(lora_layers(adapted.sam))
    attention = adapted.sam.get_submodule(path.rpartition(".")[0])
    x = torch.randn(1, 9, layer.in_features)
    with torch.no_grad():
        change = layer(x) - layer.base_layer(x)
    dim = layer.in_features
    heads = attention.num_heads
    if encoder == "vit":
        q, k, v = change.view(9, 3, dim).unbind(1)
    else:
        q, k, v = change.view(9, heads, 3, dim // heads).unbind(2)
    assert q.any()
    assert v.any()
    assert not k.any()
    assert not layer.lora_B["default"].weight[qkv_rows(attention, ["k"])].any()


def test_a_copy_keeps_the_rows_apart():
    sam = copy.deepcopy(adapt(base(), lora(targets=["k"])).sam)
    backward(sam)
    for path, layer in lora_layers(sam):
        rows = qkv_rows(sam.get_submodule(path.rpartition(".")[0]), ["q", "v"])
        grad = layer.lora_B["default"].weight.grad
        assert not grad[rows].any()
        assert grad[~rows].any()


@pytest.mark.parametrize("kind", ["adaptformer", "medsa"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_adapters_start_as_no_change_and_learn(encoder, kind):
    sam = base(encoder)
    before, keys = answers(sam), set(sam.state_dict())
    settings = AdaptationSettings(train=[], adapter=AdapterSettings(kind=kind, dim=5))
    adapt(sam, settings)
    assert difference(before, answers(sam)) == 0
    added = set(sam.state_dict()) - keys
    assert keys <= set(sam.state_dict())
    assert all(is_adapter(key) for key in added)
    assert trained_names(sam) == added
    adapted = trained(settings, encoder)
    assert difference(before, answers(adapted.sam)) > 1e-4
    backward(adapted.sam)
    assert all(bool(p.grad.any()) for p in adapted.sam.parameters() if p.requires_grad)


def test_adapters_compute_what_their_papers_say():
    torch.manual_seed(0)
    for kind in ("adaptformer", "medsa"):
        sam = trained(AdaptationSettings(train=[], adapter=AdapterSettings(kind=kind))).sam
        block = sam.image_encoder.blocks[0]
        x = torch.randn(1, 8, 8, 32)
        with torch.no_grad():
            found = block(x)
            hooks = [(module, module._forward_hooks.copy()) for module in (block.attn, block.mlp)]
            for module, _ in hooks:
                module._forward_hooks.clear()
            attended = block.attn(block.norm1(x))
            if kind == "medsa":
                attended = attended + block.attn.adapter(attended)
            middle = x + attended
            normed = block.norm2(middle)
            small = block.mlp.adapter
            inner = torch.relu if kind == "adaptformer" else torch.nn.functional.gelu
            scale = small.scale if kind == "adaptformer" else 0.5
            wanted = middle + block.mlp(normed) + scale * small.up(inner(small.down(normed)))
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert small.down.out_features == 8  # a quarter of the width


def test_frozen_batch_norms_do_not_learn_the_images():
    sam = base("tiny_vit")
    buffers = {key: value.clone() for key, value in sam.named_buffers() if "running" in key}
    adapted = adapt(sam, lora())
    adapted.train()
    assert sam.image_encoder.training
    assert not sam.mask_decoder.training
    sam.encode_image(images())
    assert all(torch.equal(value, sam.get_buffer(key)) for key, value in buffers.items())
    taught = AdaptationSettings(train=["norms"], update_statistics=True)
    adapted = adapt(base("tiny_vit"), taught)
    adapted.train()
    adapted.sam.encode_image(images())
    assert not any(
        torch.equal(value, adapted.sam.get_buffer(key)) for key, value in buffers.items()
    )


@pytest.mark.parametrize(
    ("settings", "layer"),
    [
        (
            AdaptationSettings(lora=LoraSettings(decoder=True)),
            "mask_decoder.transformer.layers.0.self_attn.q_proj",
        ),
        (
            AdaptationSettings(blocks=(2, 2), lora=LoraSettings()),
            "image_encoder.blocks.2.attn.qkv",
        ),
    ],
)
def test_a_layer_is_not_trained_twice(settings, layer):
    with pytest.raises(ConfigError) as error:
        adapt(base(), settings)
    for word in ("trained itself and by LoRA", layer, "mask_heads"):
        assert word in str(error.value)


def test_biases_and_heads_go_with_lora():
    sam = base()
    adapt(sam, AdaptationSettings(train=["biases", "mask_heads"], lora=LoraSettings(decoder=True)))
    found = trained_names(sam)
    assert "image_encoder.blocks.0.attn.qkv.bias" in found
    assert "image_encoder.blocks.0.attn.qkv.weight" not in found


def test_no_second_time():
    for settings in (lora(), AdaptationSettings(adapter=AdapterSettings())):
        sam = adapt(base(), settings).sam
        with pytest.raises(ConfigError, match="has LoRA or adapters already"):
            adapt(sam, AdaptationSettings())


def test_a_convolutional_stage_has_nothing_to_adapt():
    for settings in (
        lora(blocks=(0, 0)),
        AdaptationSettings(adapter=AdapterSettings(blocks=(0, 0))),
    ):
        with pytest.raises(ConfigError, match="TinyViT's first stage has none"):
            adapt(base("tiny_vit"), settings)


@pytest.mark.parametrize(
    ("update", "weights", "change"),
    [(None, False, True), (None, True, False), (True, True, True), (False, False, False)],
)
def test_tuning_keeps_the_statistics_of_batch_norms(tmp_path, update, weights, change) -> None:
    """The few images of a batch say little; training from nothing has no others."""
    settings = {**preset("full").to_dict(), "update_statistics": update}
    start = None
    if weights:
        start = str(tmp_path / "nano.safetensors")
        save_state_dict(build_sam("vit_nano", image_size=64), Path(start))
    module = SamModule("vit_nano", image_size=64, weights=start, adapt=settings).train()
    key = "image_encoder.patch_embed.seq.0.bn.running_mean"
    before = module.sam.state_dict()[key].clone()
    module.sam.encode_image(torch.rand(2, 3, 64, 64) * 255)
    assert torch.equal(before, module.sam.state_dict()[key]) != change
    again = SamModule(**module.hparams)
    assert again.adapted.settings == module.adapted.settings
