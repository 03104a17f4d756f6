"""`samft export` from the command line."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from quick_trainer import quick_trainer

from samft.cli.entry import main
from samft.data.synthetic import SyntheticDataModule
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam
from samft.module import SamModule
from samft.prompts.presets import preset

SIZE = 64


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder: a checkpoint with LoRA, and the configuration of its data."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    torch.manual_seed(0)
    module = SamModule("vit_nano", image_size=SIZE, prompts=preset("box_only"), adapt="lora")
    data = SyntheticDataModule(num_train=2, num_val=5, num_test=1, size=SIZE)
    trainer = quick_trainer(folder, max_steps=1, limit_val_batches=0)
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    settings = {"num_train": 2, "num_val": 5, "num_test": 1, "size": SIZE}
    config = {"data": {"class_path": "samft.SyntheticDataModule", "init_args": settings}}
    (folder / "config.fit.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_run_is_merged_compared_and_described(run, tmp_path, capsys):
    out = tmp_path / "tuned.pth"
    assert main(["export", str(run), str(out), "--to", "official"]) == 0
    said = capsys.readouterr().out
    assert "read back   in samft: largest difference of logits" in said
    assert "on 3 validation images; at most 0.001 is allowed" in said
    assert "prompts     box 100 %; no corrective clicks" in said
    assert "warning     this model was never trained with a point alone" in said
    record = json.loads((tmp_path / "tuned.pth.json").read_text())
    assert len(record["train_config_sha256"]) == 64
    assert record["licence"] == "unknown"
    assert "lora" not in " ".join(torch.load(out, weights_only=True))


def test_without_out_it_goes_into_the_run_folder(run, capsys):
    assert main(["export", str(run), "--to", "safetensors"]) == 0
    assert (run / "export" / "safetensors.safetensors").is_file()
    assert main(["export", str(run), "--to", "safetensors"]) == 2
    assert "pass --overwrite" in capsys.readouterr().err


def test_drawn_images_where_the_runs_own_are_not_there(run, tmp_path, capsys):
    lone = tmp_path / "elsewhere.ckpt"
    lone.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    assert main(["export", str(lone), str(tmp_path / "a.pth"), "--to", "official"]) == 0
    assert "on 3 drawn images" in capsys.readouterr().out


@pytest.mark.parametrize("data", [None, {"class_path": "samft.MedicalDataModule", "init_args": {}}])
def test_data_that_cannot_be_read_is_no_obstacle(run, tmp_path, capsys, data):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint = (run / "checkpoints" / "best.ckpt").read_bytes()
    (folder / "checkpoints" / "best.ckpt").write_bytes(checkpoint)
    (folder / "config.fit.yaml").write_text(yaml.safe_dump({"data": data}))
    assert main(["export", str(folder), str(tmp_path / "a.pth"), "--to", "official"]) == 0
    assert "on 3 drawn images" in capsys.readouterr().out


def test_plain_weights_keep_their_record(run, tmp_path, capsys):
    first, second = tmp_path / "a.safetensors", tmp_path / "b.pth"
    assert main(["export", str(run), str(first), "--to", "safetensors"]) == 0
    plain = ["--weights", str(first), "--arch", "vit_nano", "--image_size", str(SIZE)]
    assert main(["export", *plain, "--to", "official", str(second)]) == 0
    assert "warning     this model was never trained with a point alone" in capsys.readouterr().out
    record = json.loads((tmp_path / "b.pth.json").read_text())
    assert json.loads(record["prompt_protocol"])["shares"] == {"box": 1.0}


def test_weights_of_others_say_nothing_of_prompts(tmp_path, capsys):
    weights = tmp_path / "a.pth"
    save_state_dict(build_sam("vit_nano", image_size=SIZE), weights)
    plain = ["--weights", str(weights), "--arch", "vit_nano", "--image_size", str(SIZE)]
    assert main(["export", *plain, "--to", "safetensors", str(tmp_path / "b.safetensors")]) == 0
    assert "prompts" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", "--to", "official"], "no such run folder or checkpoint"),
        (["none"], "required but not given: --to"),
        (["--to", "onnx"], "RUN and OUT are not clear\n  where: samft export, found: neither"),
        (["a", "b", "c", "--to", "onnx"], "found: a b c, expected: a run, and OUT"),
        (["a", "--to", "onxx"], "did you mean 'onnx'?"),
        (["--weights", "x", "--to", "onnx", "a"], "--weights needs --arch"),
        (
            ["--weights", "x", "--arch", "vit_b", "--to", "onnx"],
            "expected: OUT with --weights",
        ),
        (["a", "--arch", "vit_b", "--to", "onnx"], "belong to --weights"),
        (["a", "--to", "onnx", "--quantise"], "did you mean 'quantize'?"),
    ],
)
def test_mistakes(arguments, said, capsys):
    assert main(["export", *arguments]) == 2
    assert said in capsys.readouterr().err
