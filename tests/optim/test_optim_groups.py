"""Parameter groups: every parameter once, each part and layer at its own rate."""

import pytest
import torch
from torch import nn

from samft.errors import ConfigError
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_from_config
from samft.optim import OptimizerSettings, build_optimizer, build_schedule, describe
from samft.optim.groups import layer_numbers
from samft.optim.muon import MuonAdamW


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image_encoder = nn.ModuleDict({"lin": nn.Linear(3, 3), "norm": nn.LayerNorm(3)})
        self.image_encoder.pos_embed = nn.Parameter(torch.zeros(1, 2, 2, 3))
        self.mask_decoder = nn.ModuleDict({"lin": nn.Linear(3, 3), "iou_token": nn.Embedding(1, 3)})


def test_groups_cover_every_parameter_once() -> None:
    toy = Toy()
    settings = OptimizerSettings(lr=1e-3, encoder_lr_factor=0.1, weight_decay=0.1)
    groups = build_optimizer(toy, settings).param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(toy.parameters()))
    by_name = {group["name"]: group for group in groups}
    assert by_name["image_encoder/decay"]["lr"] == pytest.approx(1e-4)
    assert by_name["mask_decoder/decay"]["lr"] == pytest.approx(1e-3)
    assert [p.shape for p in by_name["image_encoder/decay"]["params"]] == [(3, 3)]
    assert [p.shape for p in by_name["mask_decoder/decay"]["params"]] == [(3, 3)]
    assert by_name["image_encoder/no_decay"]["weight_decay"] == 0


def test_frozen_parameters_are_left_out() -> None:
    toy = Toy()
    toy.image_encoder.requires_grad_(False)
    groups = build_optimizer(toy, OptimizerSettings()).param_groups
    assert {group["name"] for group in groups} == {"mask_decoder/decay", "mask_decoder/no_decay"}


def test_all_frozen_is_refused() -> None:
    toy = Toy().requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing would be trained"):
        build_optimizer(toy, OptimizerSettings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("lr", -1.0),
        ("weight_decay", -0.1),
        ("prompt_encoder_lr_factor", 0.0),
        ("layer_decay", 1.5),
        ("layer_decay", 0.0),
        ("end_factor", 1.1),
        ("poly_power", 0.0),
        ("step_first", -0.1),
        ("step_second", 2.0),
        ("step_factor", 7.0),
        ("plateau_factor", 1.0),
        ("plateau_patience", -1),
    ],
)
def test_out_of_range_names_the_setting(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"where: optimizer\.{name}"):
        OptimizerSettings.from_dict({name: value})


def test_only_weights_of_products_are_decayed() -> None:
    with torch.device("meta"):
        for arch in ("vit_b", "vit_t", "vit_nano"):
            sam = build_from_config(ARCHITECTURES[arch])
            names = {id(p): name for name, p in sam.named_parameters()}
            groups = build_optimizer(sam, OptimizerSettings()).param_groups
            decayed = {
                names[id(p)] for g in groups if g["name"].endswith("/decay") for p in g["params"]
            }
            tables = (
                "pos_embed",
                "rel_pos_",
                "attention_biases",
                "iou_token",
                "mask_tokens",
                "_embed.w",
            )
            assert not [name for name in decayed if any(part in name for part in tables)]
            inside = "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
            assert inside in decayed
            assert any(name.startswith("image_encoder.patch_embed") for name in decayed)


def test_muon_gets_the_matrices_of_linear_layers() -> None:
    settings = OptimizerSettings(method="muon", lr=1e-3, encoder_lr_factor=0.5, matrix_lr_factor=4)
    optimizer = build_optimizer(Toy(), settings)
    assert isinstance(optimizer, MuonAdamW)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates["image_encoder/matrices"] == pytest.approx(2e-3)
    assert rates["mask_decoder/matrices"] == pytest.approx(4e-3)
    assert rates["mask_decoder/no_decay"] == pytest.approx(1e-3)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(Toy().parameters()))


def nano(**settings: object) -> tuple[nn.Module, dict[str, dict]]:
    with torch.device("meta"):
        sam = build_from_config(ARCHITECTURES["vit_nano"])
    groups = build_optimizer(sam, OptimizerSettings(**settings)).param_groups
    return sam, {group["name"]: group for group in groups}


def test_default_rates_are_bit_equal_to_what_they_always_were() -> None:
    _, groups = nano(method="muon", lr=3e-4, encoder_lr_factor=0.3, matrix_lr_factor=3.0)
    assert {name: group["lr"] for name, group in groups.items()} == {
        "image_encoder/matrices": 3e-4 * 0.3 * 3.0,
        "image_encoder/decay": 3e-4 * 0.3 * 1.0,
        "image_encoder/no_decay": 3e-4 * 0.3 * 1.0,
        "prompt_encoder/decay": 3e-4 * 1.0 * 1.0,
        "prompt_encoder/no_decay": 3e-4 * 1.0 * 1.0,
        "mask_decoder/matrices": 3e-4 * 1.0 * 3.0,
        "mask_decoder/decay": 3e-4 * 1.0 * 1.0,
        "mask_decoder/no_decay": 3e-4 * 1.0 * 1.0,
    }


def test_prompt_encoder_has_its_own_rate() -> None:
    _, groups = nano(lr=1e-3, prompt_encoder_lr_factor=0.25)
    assert groups["prompt_encoder/decay"]["lr"] == 2.5e-4
    assert groups["mask_decoder/decay"]["lr"] == 1e-3


def test_what_is_in_no_part_gets_the_decoders_rate() -> None:
    toy = Toy()
    toy.head = nn.Linear(3, 2)
    rates = {row.name: row.lr for row in describe(build_optimizer(toy, OptimizerSettings()))}
    assert rates["rest/decay"] == rates["mask_decoder/decay"] == 1e-4


def layer_of(name: str) -> int:
    """The convention, from the official names of the parameters of ViT-B."""
    if name in ("pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else 13


def test_layers_of_a_vit_follow_the_convention() -> None:
    with torch.device("meta"):
        encoder = build_from_config(ARCHITECTURES["vit_b"]).image_encoder
    numbers = layer_numbers(encoder)
    found = {name: numbers[id(p)] for name, p in encoder.named_parameters()}
    assert found == {name: layer_of(name) for name in found}
    assert set(found.values()) == set(range(14))


def test_blocks_of_a_tiny_vit_are_counted_over_its_stages() -> None:
    with torch.device("meta"):
        encoder = build_from_config(ARCHITECTURES["vit_t"]).image_encoder
    numbers = layer_numbers(encoder)
    first = {
        ".".join(name.split(".")[:4]): numbers[id(p)] for name, p in encoder.named_parameters()
    }
    assert first["patch_embed.seq.0.c"] == 0
    assert first["layers.0.blocks.1"] == first["layers.0.downsample.conv1"] == 2
    assert first["layers.1.blocks.0"] == 3
    assert first["layers.2.blocks.5"] == first["layers.2.downsample.conv3"] == 10
    assert first["layers.3.blocks.1"] == 12
    assert first["neck.0.weight"] == 13


def test_layer_decay_slows_the_encoder_towards_its_input_and_nothing_else() -> None:
    settings = {"lr": 1e-3, "encoder_lr_factor": 0.5, "layer_decay": 0.8, "method": "muon"}
    sam, groups = nano(**settings)
    assert groups["image_encoder/layer_00/decay"]["lr"] == pytest.approx(5e-4 * 0.8**7)
    assert groups["image_encoder/layer_06/matrices"]["lr"] == pytest.approx(1.5e-3 * 0.8)
    assert groups["image_encoder/layer_07/decay"]["lr"] == 5e-4
    assert groups["mask_decoder/decay"]["lr"] == groups["prompt_encoder/decay"]["lr"] == 1e-3
    assert all(g["weight_decay"] == 0 for name, g in groups.items() if name.endswith("no_decay"))
    ids = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(ids) == sorted(id(parameter) for parameter in sam.parameters())


def test_layer_decay_needs_blocks() -> None:
    with pytest.raises(ConfigError, match=r"no blocks.*\n.*optimizer\.layer_decay.*ModuleDict"):
        build_optimizer(Toy(), OptimizerSettings(layer_decay=0.9))


def test_description_shows_peaks_also_while_warming_up() -> None:
    settings = OptimizerSettings(lr=1e-3, encoder_lr_factor=0.5, weight_decay=0.2)
    optimizer = build_optimizer(Toy(), settings)
    build_schedule(optimizer, settings, total_steps=1000)
    assert optimizer.param_groups[0]["lr"] < 5e-4
    rows = describe(optimizer)
    assert rows[0] == ("image_encoder/decay", 9, 5e-4, 0.2)
    assert rows[-1] == ("mask_decoder/no_decay", 6, 1e-3, 0.0)
    assert sum(row.num_parameters for row in rows) == sum(p.numel() for p in Toy().parameters())
