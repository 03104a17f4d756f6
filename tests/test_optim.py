"""Parameter groups, schedule and what is refused."""

import pytest
import torch
from torch import nn

from samft.errors import ConfigError
from samft.models.config import ARCHITECTURES
from samft.models.registry import build_from_config
from samft.muon import MuonAdamW
from samft.optim import OptimizerSettings, build_optimizer, build_schedule, rate_curve


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
    assert by_name["rest/decay"]["lr"] == pytest.approx(1e-3)
    assert [p.shape for p in by_name["image_encoder/decay"]["params"]] == [(3, 3)]
    assert [p.shape for p in by_name["rest/decay"]["params"]] == [(3, 3)]
    assert by_name["image_encoder/no_decay"]["weight_decay"] == 0


def test_frozen_parameters_are_left_out() -> None:
    toy = Toy()
    toy.image_encoder.requires_grad_(False)
    groups = build_optimizer(toy, OptimizerSettings()).param_groups
    assert {group["name"] for group in groups} == {"rest/decay", "rest/no_decay"}


def test_all_frozen_is_refused() -> None:
    toy = Toy().requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing would be trained"):
        build_optimizer(toy, OptimizerSettings())


def test_warm_up_then_cosine() -> None:
    curve = rate_curve(OptimizerSettings(warmup_steps=10), total_steps=110)
    assert curve(0) == pytest.approx(1 / 11)
    assert curve(9) == pytest.approx(10 / 11)
    assert curve(10) == pytest.approx(1.0)
    assert curve(60) == pytest.approx(0.505)
    assert curve(110) == curve(500) == pytest.approx(0.01)


def test_constant_stays() -> None:
    curve = rate_curve(OptimizerSettings(warmup_steps=0, schedule="constant"), total_steps=10)
    assert [curve(step) for step in (0, 5, 99)] == [1.0, 1.0, 1.0]


def test_short_runs_still_reach_the_peak() -> None:
    curve = rate_curve(OptimizerSettings(warmup_steps=250), total_steps=20)
    assert max(curve(step) for step in range(20)) == pytest.approx(1.0)


def test_schedule_scales_every_group() -> None:
    optimizer = build_optimizer(Toy(), OptimizerSettings(lr=1e-3, encoder_lr_factor=0.5))
    schedule = build_schedule(optimizer, OptimizerSettings(warmup_steps=3), total_steps=100)
    assert schedule.get_last_lr()[0] == pytest.approx(0.5e-3 / 4)
    assert schedule.get_last_lr()[-1] == pytest.approx(1e-3 / 4)


@pytest.mark.parametrize(("name", "value"), [("lr", 0.0), ("lr", -1.0), ("weight_decay", -0.1)])
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
    assert rates["rest/matrices"] == pytest.approx(4e-3)
    assert rates["rest/no_decay"] == pytest.approx(1e-3)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(Toy().parameters()))
