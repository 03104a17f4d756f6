"""`samft fit --plan`: says what a fit takes and trains nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from samft.cli.entry import main

SMALL = [
    *("--model", "samft.SamModule", "--model.arch", "vit_nano", "--model.image_size", "64"),
    *("--model.optimizer.lr", "3e-4", "--model.prompts.max_objects_per_image", "4"),
    *("--data", "samft.SyntheticDataModule", "--data.size", "64", "--data.num_train", "12"),
    *("--data.num_val", "2", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "3"),
    *("--trainer.enable_progress_bar", "false"),
]


def test_the_plan_says_all_and_writes_a_picture(tmp_path: Path, capsys) -> None:
    runs = tmp_path / "runs"
    words = ["fit", "--plan", *SMALL, "--data.batch_size", "auto", "--runs", str(runs)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    document, _, rest = shown.partition("What is trained")
    config = yaml.safe_load(document.split("default\n", 1)[1])
    assert config["model"]["init_args"]["optimizer"] == {"lr": 0.0003}
    assert "loss" not in config["model"]["init_args"]
    for text in (
        *("mask_decoder", "frozen", "Memory of a step, estimated", "image encoder", "together"),
        *("there is room for", "images: train 12, val 2, test", "in the first batch of 3, "),
        *("4 steps per epoch, 3 epochs;", "s per batch, measured on the first one;"),
    ):
        assert text in rest, text
    assert sorted(path.name for path in runs.rglob("*") if path.is_file()) == ["plan.png"]
    picture = np.asarray(Image.open(runs / "run" / "plan.png"))
    assert picture.shape[0] > 3 * 320
    assert "first batch, with its first prompts: " in rest


def test_two_devices_share_the_images(tmp_path: Path, capsys) -> None:
    two = ["--trainer.devices", "2", "--trainer.strategy", "samft_sharded", "--model.adapt", "full"]
    words = ["fit", "--plan", *SMALL, *two, "--data.batch_size", "auto", "--runs", str(tmp_path)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "objects in the first batch of 1, " in shown  # a quarter of six
    assert "6 steps per epoch, 3 epochs;" in shown
    assert "by shards on other devices" in shown


def test_auto_is_saved_as_the_number_it_became(tmp_path: Path) -> None:
    words = ["fit", *SMALL, "--data.batch_size", "auto", "--runs", str(tmp_path)]
    assert main([*words, "--trainer.max_steps", "1", "--overlays.images", "0"]) == 0
    saved = yaml.safe_load((tmp_path / "run" / "0" / "config.fit.yaml").read_text())
    assert saved["data"]["init_args"]["batch_size"] == 3


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--data.batch_size", "many"), "found: many, expected: int or 'auto'"),
        (("--model.arch", "vit_q"), "unknown architecture 'vit_q'"),
        (("--data.num_trian", "3"), "did you mean 'num_train'"),
    ],
)
def test_mistakes_read_as_those_of_fit(words, text, tmp_path, capsys) -> None:
    assert main(["fit", "--plan", *SMALL, *words, "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) <= 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(tmp_path, capsys) -> None:
    words = ["fit", "--plan", *SMALL, "--trainer.accelerator", "gpu", "--runs", str(tmp_path)]
    assert main(words) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert "No supported gpu backend found" in error[0]
    assert "where: trainer, found: trainer.accelerator gpu" in error[1]
    assert error[2].endswith("set what this machine has, such as --trainer.accelerator cpu")


def test_only_fit_can_be_planned(capsys) -> None:
    assert main(["test", "--plan", *SMALL]) == 2
    assert "plan" in capsys.readouterr().err
