"""Every mistake a user can make: a short clear error before any training, and nothing written."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samft.cli.entry import main

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes" / "microscopy.yaml")
NANO = ("--config", str(ROOT / "configs" / "model" / "vit_nano.yaml"))
CPU = ("--trainer.accelerator", "cpu", "--trainer.max_epochs", "1", "--data.num_workers", "0")


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, expecting the user's mistake; return what it said."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    message = said[said.rindex("Error: ") :] if "Error: " in said else said
    assert 1 <= len(message.strip().splitlines()) <= 3, message
    assert not Path("runs").exists(), "nothing may be written"
    return said


def fit(capsys: pytest.CaptureFixture[str], *arguments: str, root: object = "data") -> str:
    words = ("fit", "--config", RECIPE, *NANO, *CPU, "--data.root", str(root), *arguments)
    return fails(capsys, *words)


def pairs(folder: Path, count: int = 4, size: tuple[int, int] = (40, 40)) -> Path:
    """Images with label maps beside them."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for number in range(count):
        labels = np.zeros(size, np.uint8)
        labels[5:15, 5:15], labels[20:35, 20:35] = 1, 2
        Image.fromarray(labels * 100).save(folder / "images" / f"{number}.png")
        Image.fromarray(labels).save(folder / "masks" / f"{number}.png")
    return folder


def test_root_not_given(capsys) -> None:
    said = fails(capsys, "fit", "--config", RECIPE, *NANO, *CPU)
    assert "ConfigError: a setting must be given" in said
    assert "--data.root" in said


def test_missing_folder(capsys) -> None:
    said = fit(capsys, root="no/such/folder")
    assert "DatasetError" in said
    assert "no/such/folder" in said


def test_empty_folder(capsys, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    said = fit(capsys)
    assert "DatasetError" in said
    assert str(tmp_path / "data") in said


def test_image_without_mask(capsys, tmp_path: Path) -> None:
    folder = pairs(tmp_path / "data")
    (folder / "masks" / "2.png").unlink()
    said = fit(capsys)
    assert "DatasetError" in said
    assert "2.png" in said
    assert "on_missing" in said


def test_mismatched_sizes(capsys, tmp_path: Path) -> None:
    folder = pairs(tmp_path / "data")
    Image.fromarray(np.ones((40, 30), np.uint8)).save(folder / "masks" / "1.png")
    said = fit(capsys)
    assert "DatasetError" in said
    assert "1.png" in said
    assert "40" in said
    assert "30" in said


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_unreadable_file(capsys, tmp_path: Path, content: bytes | None) -> None:
    path = pairs(tmp_path / "data") / "images" / "3.png"
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    said = fit(capsys)
    assert "DatasetError" in said
    assert "3.png" in said


def test_wrong_architecture(capsys, tmp_path: Path) -> None:
    from samft.models import build_sam

    pairs(tmp_path / "data")
    torch.save(build_sam("vit_nano").state_dict(), "nano.pth")
    said = fit(capsys, "--model.arch", "vit_b", "--model.weights", "nano.pth")
    assert "CheckpointError" in said
    assert "nano.pth" in said
    assert "vit_nano" in said


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch canary",)


def test_checkpoint_that_carries_code(capsys, tmp_path: Path) -> None:
    pairs(tmp_path / "data")
    torch.save({"state_dict": {"x": Payload()}}, "evil.pth")
    Path("evil.ckpt").write_bytes(pickle.dumps(Payload()))
    for option in ("--model.weights", "--ckpt_path"):
        for name in ("evil.pth", "evil.ckpt"):
            assert "CheckpointError" in fit(capsys, option, name)
    assert "CheckpointError" in fails(capsys, "predict", "evil.ckpt", "--source", "data")
    assert not Path("canary").exists()


def test_weights_only_cannot_be_switched_off(capsys, tmp_path: Path) -> None:
    pairs(tmp_path / "data")
    said = fit(capsys, "--weights_only", "false")
    assert "checkpoints are only read with weights_only" in said


def test_missing_weights_file(capsys, tmp_path: Path) -> None:
    pairs(tmp_path / "data")
    said = fit(capsys, "--model.weights", "sam_vit_b.pth")
    assert "CheckpointError" in said
    assert "sam_vit_b.pth" in said


def test_named_weights_offline(capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SAMFT_OFFLINE", "0")
    pairs(tmp_path / "data")
    said = fit(capsys, "--offline", "--model.arch", "vit_b", "--model.weights", "vit_b")
    assert "CheckpointError" in said
    assert "downloading is off" in said
    assert "sam_vit_b_01ec64.pth" in said


def test_unknown_yaml_section_and_key(capsys, tmp_path: Path) -> None:
    pairs(tmp_path / "data")
    Path("a.yaml").write_text("trianer: {max_epochs: 3}\n")
    assert "did you mean 'trainer'" in fit(capsys, "--config", "a.yaml")
    Path("b.yaml").write_text("model: {init_args: {loss_strid: 1}}\n")
    said = fit(capsys, "--config", "b.yaml")
    assert "unknown setting" in said
    assert "did you mean 'loss_stride'" in said
    Path("c.yaml").write_text("model: {init_args: {prompts: {ronds: 1}}}\n")
    assert "did you mean 'rounds'" in fit(capsys, "--config", "c.yaml")


@pytest.mark.parametrize(
    ("option", "value", "meant"),
    [
        ("--trainer.max_epoch", "2", "max_epochs"),
        ("--data.batchsize", "2", "batch_size"),
        ("--model.optimizer.learning", "2", None),
        ("--model.arhc", "vit_b", "arch"),
    ],
)
def test_typo_in_an_option(capsys, tmp_path, option, value, meant) -> None:
    pairs(tmp_path / "data")
    said = fit(capsys, option, value)
    assert "ConfigError: unknown setting" in said
    assert option.split(".")[-1] in said
    if meant:
        assert f"did you mean '{meant}'" in said


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--trainer.max_epochs", "two", "found: two, expected: int"),
        ("--data.batch_size", "2.5", "found: 2.5, expected: int"),
        ("--model.optimizer.lr", "-1", "lr is out of range"),
        ("--model.optimizer.lr", "fast", "found: fast, expected: float"),
        ("--model.arch", "vit_q", "unknown architecture 'vit_q'"),
        ("--model.image_size", "100", "multiple of"),
        ("--data.transforms", "wild", "wild"),
        ("--checkpoint.monitor", "val/dcie_box", "did you mean 'val/dice_box'"),
    ],
)
def test_wrong_value(capsys, tmp_path, option, value, said) -> None:
    pairs(tmp_path / "data")
    assert said in fit(capsys, option, value)


def test_a_plateau_needs_its_score_after_every_epoch(capsys, tmp_path) -> None:
    pairs(tmp_path / "data")
    plateau = ("--model.optimizer.schedule", "plateau")
    said = fit(capsys, *plateau, "--trainer.check_val_every_n_epoch", "2")
    assert "where: trainer.check_val_every_n_epoch, found: 2, expected: 1" in said
    said = fit(capsys, *plateau, "--model.optimizer.plateau_monitor", "val/iuo")
    assert "did you mean 'val/iou'" in said


@pytest.mark.parametrize(
    ("words", "name", "found", "fix"),
    [
        ((), "optimizer.schedule", "cosine", "constant or plateau"),
        (("--model.prompts.rounds_from", "0.5"), "prompts.rounds_from", "0.5", "0"),
        (("--model.loss.balanced_bce", "2"), "loss.balanced_bce", "2.0", "0"),
    ],
)
def test_what_goes_by_the_length_of_the_run_needs_one(
    capsys, tmp_path, words, name, found, fix
) -> None:
    pairs(tmp_path / "data")
    limit = ("--trainer.max_epochs", "-1", "--trainer.max_time", "00:01:00:00")
    schedule = ("--model.optimizer.schedule", "constant") if words else ()
    said = fit(capsys, *limit, *schedule, *words)
    assert "ConfigError: this setting goes by the number of steps of the training" in said
    without = "without trainer.max_epochs and trainer.max_steps"
    assert f"where: model.{name}, found: {found}, {without}" in said
    assert said.rstrip().endswith(
        f"fix: set one of these, beside trainer.max_time; or set model.{name}: {fix}"
    )


def test_missing_config_file(capsys) -> None:
    said = fails(capsys, "fit", "--config", "recipes/medicall.yaml")
    assert "configuration file not found" in said
    assert "did you mean 'recipes/medical.yaml'" in said


def test_nothing_given(capsys) -> None:
    assert "required but not given" in fails(capsys, "fit")


def test_corrupt_run_folder_for_test(capsys, tmp_path: Path) -> None:
    said = fails(capsys, "test", "--ckpt_path", "runs_of_mine/0")
    assert "CheckpointError" in said
    assert "runs_of_mine/0" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to predict with"),
        (["no/run", "--source", "x"], "no such run folder or checkpoint"),
        (["--weights", "x.pth", "--source", "x"], "--weights needs --arch"),
        (["--weights", "vit_nanoo", "--source", "x"], "did you mean 'vit_nano'"),
        (["--weights", "vit_nano", "--source", "no/folder"], "no/folder"),
        (["run", "--weights", "x.pth"], "not both"),
    ],
)
def test_predict_options(capsys, arguments, said) -> None:
    assert said in fails(capsys, "predict", *arguments)
