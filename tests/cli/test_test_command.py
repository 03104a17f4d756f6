"""`samft test`: what it is given, what it refuses, and what it writes."""

import json
import logging
from pathlib import Path

import pytest

from samft.cli.entry import main
from samft.cli.testing.arguments import split_words
from samft.cli.testing.command import check_classes
from samft.cli.testing.subject import chosen_split, load_subject, results_folder
from samft.data.synthetic import SyntheticDataModule
from samft.errors import CheckpointError, ConfigError, OutputError
from samft.evaluation.box_baselines import BoxBaselineCompetitor
from samft.module import SamModule

ROOT = Path(__file__).parents[2]


def test_words_in_front_of_the_options_are_runs() -> None:
    options, more = split_words(["test", "runs/a/0", "runs/b/1", "vit_b", "--data.root", "x"])
    assert options == ["test", "--ckpt_path", "runs/a/0", "--data.root", "x"]
    assert more == ["runs/b/1", "vit_b"]
    assert split_words(["test", "--ckpt_path", "x"]) == (["test", "--ckpt_path", "x"], [])
    assert split_words(["test"]) == (["test"], [])


def test_a_run_given_in_both_ways() -> None:
    for given in (["--ckpt_path", "b"], ["--ckpt_path=b"]):
        with pytest.raises(ConfigError, match="given twice") as caught:
            split_words(["test", "a", *given])
        assert caught.value.where == "samft test"
        assert "needs no --ckpt_path" in caught.value.fix


def test_where_results_go(tmp_path: Path) -> None:
    assert results_folder(None, tmp_path) == tmp_path / "test"
    assert results_folder(None, None) == Path("test")
    assert results_folder(str(tmp_path / "a" / "b"), tmp_path) == tmp_path / "a" / "b"
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written") as caught:
        results_folder(str(tmp_path / "file" / "x"), None)
    assert "--evaluation.out" in caught.value.fix
    assert not (tmp_path / "a").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["metrics.json", "objects.csv", "images.csv", "gallery/cat.jpg"])
def test_files_of_something_else_are_not_overwritten(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"accuracy": 1}')
    with pytest.raises(OutputError, match="samft test has not written") as caught:
        results_folder(str(tmp_path), None)
    assert caught.value.where == path
    assert "--evaluation.out" in caught.value.fix


def test_a_place_that_takes_no_files_is_found_out_before_hours_of_work() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs Linux")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        results_folder("/proc/results", None)
    assert caught.value.found.endswith("in /proc")


def test_without_a_test_split_validation_is_scored_loudly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="samft"):
        _, split = chosen_split(SyntheticDataModule(num_test=1))
        assert (split, caplog.text) == ("test", "")
        _, split = chosen_split(SyntheticDataModule(num_test=0))
    assert split == "val"
    assert "THERE IS NO TEST SPLIT" in caplog.text


def test_data_without_truth_and_foreign_modules_are_refused() -> None:
    with pytest.raises(ConfigError, match="no truth") as caught:
        chosen_split(object())
    assert caught.value.where == "data"
    with pytest.raises(ConfigError, match="only a SamModule") as caught:
        load_subject(object(), None)
    assert caught.value.where == "model"


def test_weights_alone_are_named_after_their_file() -> None:
    found = load_subject(SamModule("vit_nano", weights="vit_nano", image_size=64), None)
    assert (found.name, found.source, found.folder) == ("vit_nano", "vit_nano", None)
    fresh = load_subject(SamModule("vit_nano", image_size=64), None)
    assert fresh.name == "random"


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"x": torch.zeros(1)}, "hyper_parameters": {}}, path)
    with pytest.raises(CheckpointError, match="does not fit the model") as caught:
        load_subject(SamModule("vit_nano", image_size=64), str(path))
    assert caught.value.where == str(path)
    assert len(str(caught.value).splitlines()) == 3


def test_a_model_of_other_classes() -> None:
    data = SyntheticDataModule()
    model = BoxBaselineCompetitor("otsu")
    check_classes(model, data)
    model.class_names = ("liver",)
    with pytest.raises(ConfigError, match="other classes") as caught:
        check_classes(model, data)
    assert caught.value.found == "liver"
    assert "samft baseline" in caught.value.fix


def test_weights_without_a_run(
    dsb_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        *("test", "--config", str(ROOT / "recipes/microscopy.yaml")),
        *("--config", str(ROOT / "configs/model/vit_nano.yaml")),
        *("--data.root", str(dsb_folder), "--data.num_workers", "0", "--model.image_size", "64"),
        *("--data.val_fraction", "0.3", "--trainer.accelerator", "cpu"),
        *("--trainer.enable_progress_bar", "false", "--evaluation.clicks", "2"),
        *("--evaluation.samples", "100", "--evaluation.gallery", "0"),
    ]
    assert main([*words, "--evaluation.against", '["ellipse"]']) == 0
    found = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert [each["name"] for each in found["models"]] == ["vit_nano", "ellipse"]
    assert (found["split"], found["reference"]) == ("val", None)
    assert set(found["scores"]) == {"box", "loose_box", "point1", "point2"}
    capsys.readouterr()
    assert main([*words, "--evaluation.prompts", '["boxes"]']) == 2
    assert main([*words, "--evaluation.click", "3"]) == 2
    said = capsys.readouterr().err
    assert "unknown setting 'evaluation.click'" in said
    assert "clicks" in said
    assert main([*words, "--evaluation.against", '["unett"]']) == 2
    assert "did you mean 'unet'?" in capsys.readouterr().err
