"""`samft baseline`: a U-Net on the data of a run."""

import json

import pytest
import torch
import yaml
from quick_trainer import quick_trainer

from samft import SamModule, SyntheticDataModule
from samft.callbacks.duration import STATE_KEY, TrainingTime
from samft.cli.commands.baseline import _told_where, build_parser
from samft.cli.entry import main
from samft.evaluation.unet.competitor import load_unet
from samft.evaluation.unet.network import DEFAULT_FILTERS

SIZE = 64


@pytest.fixture(autouse=True)
def known_command(monkeypatch):
    """The command, whether or not the front door lists it yet."""
    monkeypatch.setitem(main.__globals__["COMMANDS"], "baseline", "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder: a checkpoint, and the configuration of its data."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    module = SamModule("vit_nano", image_size=SIZE, prompts={"rounds": 0})
    settings = {"num_train": 2, "num_val": 1, "num_test": 1, "size": SIZE, "batch_size": 2}
    timer = TrainingTime()
    trainer = quick_trainer(folder, max_steps=1, limit_val_batches=0, callbacks=[timer])
    trainer.fit(module, SyntheticDataModule(**settings))
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    data = {"class_path": "samft.SyntheticDataModule", "init_args": settings}
    config = {
        "seed_everything": 5,
        "model": {
            "class_path": "samft.SamModule",
            "init_args": {"arch": "vit_nano", "image_size": SIZE},
        },
        "data": data,
    }
    (folder / "config.fit.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """A run folder of one's own."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("config.fit.yaml", "checkpoints/last.ckpt"):
        (folder / name).write_bytes((finished / name).read_bytes())
    return folder


def _baseline(*words):
    return main(["baseline", *map(str, words), "--device", "cpu", "--base-filters", "4"])


def test_the_run_gets_a_unet_that_loads_and_answers(run, capsys) -> None:
    assert _baseline(run, "--minutes", "5", "--max-steps", "1") == 0
    said = capsys.readouterr().out
    assert "images of 64 pixels, 9 classes and borders" in said
    assert "5.0 minutes or 1 steps on cpu; time as given" in said
    assert "best        Dice" in said
    assert "objects     F1" in said
    competitor = load_unet(run / "baselines" / "unet.ckpt")
    assert competitor.image_size == SIZE
    assert competitor.class_names == tuple(SyntheticDataModule().class_names)
    facts = json.loads((run / "baselines" / "unet.json").read_text())
    assert (facts["steps"], facts["epochs"], facts["seed"]) == (1, 1.0, 5)
    assert facts["finished"] is True
    left = sorted(path.name for path in (run / "baselines").iterdir())
    assert left == ["unet.ckpt", "unet.json"]
    assert (facts["budget_seconds"], facts["filters"], facts["device"]) == (300.0, 4, "cpu")


def test_whoever_stops_it_is_told_what_is_kept(tmp_path, capsys) -> None:
    part = tmp_path / "unet.part.ckpt"
    with pytest.raises(KeyboardInterrupt), _told_where(part):
        raise KeyboardInterrupt
    assert "before the first validation: nothing is kept" in capsys.readouterr().out
    part.touch()
    with pytest.raises(SystemExit), _told_where(part):
        raise SystemExit(1)
    assert f"unet={part}]" in capsys.readouterr().out


def test_the_width_in_the_help_is_the_networks_own() -> None:
    assert build_parser().get_default("base_filters") == DEFAULT_FILTERS


def test_the_time_is_that_of_the_run_on_all_its_devices(run, capsys) -> None:
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["callbacks"][STATE_KEY] = {"seconds": 120.0, "devices": 3, "device": "GPU X"}
    torch.save(content, path)
    assert _baseline(run, "--max-steps", "1", "--data.num_val", "0") == 0
    said = capsys.readouterr().out
    assert "6.0 minutes or 1 steps on cpu; time as the run took on 3 x GPU X" in said
    assert "there is no validation split" in said


def test_a_run_that_does_not_say_how_long_it_took(run, capsys) -> None:
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    del content["callbacks"][STATE_KEY]
    torch.save(content, path)
    assert _baseline(run) == 2
    said = capsys.readouterr().err
    assert "the run does not say how long it was trained" in said
    assert str(path) in said
    assert "fix: give the time with --minutes M" in said
    assert not (run / "baselines").exists()


@pytest.mark.parametrize("name", ["unet.ckpt", "unet.json"])
def test_an_earlier_unet_is_not_replaced(run, capsys, name) -> None:
    place = run / "baselines" / name
    place.parent.mkdir()
    place.write_text("mine")
    assert _baseline(run, "--max-steps", "1") == 2
    said = capsys.readouterr().err
    assert "the run has a U-Net already" in said
    assert str(place) in said
    assert "fix: pass --overwrite" in said
    assert place.read_text() == "mine"


def test_it_is_replaced_when_that_is_asked_for(run) -> None:
    place = run / "baselines" / "unet.json"
    place.parent.mkdir()
    place.write_text("mine")
    assert _baseline(run, "--max-steps", "1", "--overwrite") == 0
    assert json.loads(place.read_text())["format"] == "samft-unet"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--minutes", "0"], "for how long to train"),
        (["--minutes", "nan"], "for how long to train"),
        (["--max-steps", "-3"], "for how long to train"),
        (["--base-filters", "1000", "--max-steps", "1"], "unet.filters, found: 1000"),
        (["--minutes", "soon"], "--minutes"),
        (["--device", "cuda:99"], "there is no such device"),
        (["--data.no_such_thing", "1", "--max-steps", "1"], "no_such_thing"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(run, capsys, words, complaint) -> None:
    base = ["baseline", str(run), "--device", "cpu"]
    assert main([*base, *words]) == 2
    assert complaint in capsys.readouterr().err
    assert not (run / "baselines").exists()


def test_a_checkpoint_without_its_folder_has_no_data(run, tmp_path, capsys) -> None:
    lonely = tmp_path / "x.ckpt"
    lonely.write_bytes((run / "checkpoints" / "last.ckpt").read_bytes())
    assert _baseline(lonely) == 2
    said = capsys.readouterr().err
    assert "lies outside a run folder" in said
    assert str(lonely) in said


def test_data_without_masks_is_refused(run, capsys) -> None:
    config = yaml.safe_load((run / "config.fit.yaml").read_text())
    config["data"] = {
        "class_path": "samft.PromptedImagesDataModule",
        "init_args": {"source": str(run)},
    }
    (run / "config.fit.yaml").write_text(yaml.safe_dump(config))
    assert _baseline(run, "--max-steps", "1") == 2
    said = capsys.readouterr().err
    assert "no masks to learn from" in said
    assert "PromptedImagesDataModule" in said
