"""Fine-tuning by the clock, and its comparison with random weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from benchmarks.nano import fine_tune, tuning
from samft.errors import ConfigError
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam


def test_later_configs_lie_on_top(tmp_path):
    recipe, nano = tmp_path / "recipe.yaml", tmp_path / "nano.yaml"
    recipe.write_text("model: {init_args: {arch: vit_b, prompts: {rounds: 8, extra_passes: 2}}}")
    nano.write_text("model: {init_args: {arch: vit_nano, prompts: {rounds: 1}}}\ntrainer: {a: 1}")
    merged = tuning.read_settings([recipe, nano])
    assert tuning.arguments(merged, "model") == {
        "arch": "vit_nano",
        "prompts": {"rounds": 1, "extra_passes": 2},
    }
    assert merged["trainer"] == {"a": 1}
    assert tuning.arguments(merged, "data") == {}


@pytest.mark.parametrize("content", [None, "a: [", "just words"])
def test_unreadable_config(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"the config [\s\S]*recipe\.yaml"):
        tuning.read_settings([path])


def test_split_leaves_the_other_images_for_testing(dsb_folder):
    settings = tuning.read_settings(fine_tune.CONFIGS)
    data = fine_tune.datamodule(dsb_folder, 4, settings)
    assert [len(data.records(split)) for split in ("train", "val", "test")] == [4, 0, 2]
    assert data.transforms == "none"  # of the nano size; the recipe itself has a preset
    with pytest.raises(ConfigError, match=r"found: 6, expected: 1 to 5"):
        fine_tune.datamodule(dsb_folder, 6, settings)


def test_tuning_stops_by_the_clock_and_leaves_nothing(dsb_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = tuning.read_settings(fine_tune.CONFIGS)
    make_data = partial(fine_tune.datamodule, dsb_folder, 4, settings, num_workers=0)
    torch.manual_seed(0)
    save_state_dict(build_sam("vit_nano"), tmp_path / "start.safetensors")
    module, steps = tuning.tune(
        make_data, settings, weights="start.safetensors", arch="vit_nano", seconds=0.3
    )
    assert 1 <= steps < 100
    assert not module.training
    before = build_sam("vit_nano", weights="start.safetensors").state_dict()
    after = module.sam.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert [path.name for path in tmp_path.iterdir()] == ["start.safetensors"]


@pytest.mark.slow
def test_comparison(data_folder, nano_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    present = set(tmp_path.rglob("*"))
    weights = str(nano_checkpoint / "checkpoints" / "best.ckpt")
    given = ["--weights", weights, "--data", str(data_folder), "--images", "4"]
    assert fine_tune.main([*given, "--seconds", "0.3", "--workers", "0", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Mean IoU on 2 other images, 8 objects"
    assert lines[1].split() == ["start", "steps", "box", "point", "oracle", "box_point"]
    assert [line.split(" ")[0].strip(",") for line in lines[2:5]] == [
        "zero-shot",
        "weights",
        "random",
    ]
    assert "ellipse 0.9" in lines[5]
    assert set(tmp_path.rglob("*")) == present


def test_missing_data(tmp_path, capsys):
    assert fine_tune.main(["--data", str(tmp_path)]) == 2
    assert "the data folder does not exist" in capsys.readouterr().err
