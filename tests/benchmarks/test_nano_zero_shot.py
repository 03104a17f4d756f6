"""The table of what nano weights reach."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks.nano import zero_shot
from samft.errors import CheckpointError
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "nano.safetensors"
    save_state_dict(build_sam("vit_nano"), path)
    return str(path)


def test_table_of_a_generated_folder(weights, data_folder, tmp_path, capsys):
    target = tmp_path / "scores.json"
    given = ["--weights", weights, "--data", str(data_folder), "--sets", "dsb2018", "suim"]
    assert zero_shot.main([*given, "--limit", "2", "--json", str(target)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["set", "images", "objects"]
    assert lines[1].split()[:3] == ["DSB2018", "2", "8"]
    assert "at least 30 px" in "\n".join(lines)
    assert lines[-1].startswith("Not to be shipped: synthetic was not measured; dsb2018 box ")
    assert "stardist_tiles was not measured" in lines[-1]
    nuclei, _ = json.loads(target.read_text())
    # Discs that do not touch, bright on dark noise: Otsu finds them, an ellipse is nearly one.
    assert nuclei["baselines"]["Otsu"] > 0.97
    assert nuclei["baselines"]["ellipse"] > 0.9
    assert nuclei["baselines"]["filled box"] == pytest.approx(math.pi / 4, abs=0.03)
    assert nuclei["baselines"]["disc"] > 0.9
    assert nuclei["radius"] == pytest.approx(6, abs=0.2)
    assert 0 <= nuclei["model"]["iou"]["box"] < 0.5
    assert set(nuclei["untrained"]["iou"]) == {"box", "point", "oracle", "box_point"}


def test_markdown(weights, data_folder, capsys):
    given = ["--weights", weights, "--data", str(data_folder), "--sets", "dsb2018"]
    assert zero_shot.main([*given, "--limit", "1", "--markdown", "--no-random"]) == 0
    header, ruler, row = capsys.readouterr().out.splitlines()[:3]
    assert header.count("|") == ruler.count("|") == row.count("|") == len(zero_shot.HEADER) + 1
    assert row.startswith("| DSB2018 | 1 | 4 |")
    assert row.count("| - |") == 1  # two cells without random weights share a bar


def test_missing_sets_are_left_out_aloud_unless_asked_for(
    weights, data_folder, monkeypatch, capsys
):
    few = {name: zero_shot.sets_named([name])[0] for name in ("dsb2018", "grabcut")}
    monkeypatch.setattr("benchmarks.nano.sets.SETS", few)
    given = ["--weights", weights, "--data", str(data_folder), "--limit", "1"]
    assert zero_shot.main(given) == 0
    shown = capsys.readouterr()
    assert "grabcut is left out: the data folder does not exist" in shown.err
    assert "GrabCut" not in shown.out
    assert zero_shot.main([*given, "--sets", "grabcut"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 3


def test_checkpoint_knows_its_architecture(nano_checkpoint):
    sam = zero_shot.load_sam(str(nano_checkpoint), "vit_b")
    assert sam.config.name == "vit_nano"
    again = zero_shot.load_sam(str(nano_checkpoint / "checkpoints" / "best.ckpt"), "vit_b")
    key = "mask_decoder.iou_token.weight"
    assert torch.equal(sam.state_dict()[key], again.state_dict()[key])


def test_no_such_weights(capsys, tmp_path):
    assert zero_shot.main(["--weights", str(tmp_path / "none.safetensors")]) == 2
    assert "there is no such weights file" in capsys.readouterr().err
    with pytest.raises(CheckpointError):
        zero_shot.load_sam(str(tmp_path / "none.ckpt"), "vit_nano")


@pytest.mark.slow
def test_baselines_on_real_nuclei(real_data: Path, weights, capsys, tmp_path):
    if not (real_data / "microscopy/stardist_nuclei").is_dir():
        pytest.skip("no stardist image")
    target = tmp_path / "scores.json"
    given = ["--weights", weights, "--data", str(real_data), "--sets", "stardist_tiles"]
    assert zero_shot.main([*given, "--json", str(target)]) == 0
    (found,) = json.loads(target.read_text())
    measured_before = {"filled box": 0.733, "ellipse": 0.788, "Otsu": 0.718, "disc": 0.601}
    for name, value in measured_before.items():
        assert found["baselines"][name] == pytest.approx(value, abs=0.03), name
