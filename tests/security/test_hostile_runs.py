"""Training checkpoints whose settings ask for memory, files or code of their own choice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hostile_files import refused_by

from samft.checkpoints import load_module, read_checkpoint
from samft.cli.resuming.stopped_run import find_stopped_run
from samft.errors import CheckpointError
from samft.models.sam import MAX_IMAGE_SIZE
from samft.models.stored_shapes import check_stored
from samft.module import SamModule


@pytest.fixture(scope="module")
def content():
    """What a checkpoint of the smallest size holds."""
    module = SamModule("vit_nano")
    return {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.fit.yaml").write_text("{}")
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def few(content: dict) -> dict:
    """Return a checkpoint without most weights, so that it is small."""
    return content | {"state_dict": dict(list(content["state_dict"].items())[:3])}


def test_what_is_attacked_below_is_read_when_whole(run, content):
    module = load_module(saved(run, content))
    assert module.image_size == 256
    assert not module.training


SETTINGS = {
    "a huge input": ({"image_size": 1_000_000}, f"at most {MAX_IMAGE_SIZE}"),
    "a huge input of a plain encoder": (
        {"arch": "vit_b", "image_size": 16_384},
        "missing",
    ),
    "an input beyond 64 bits": ({"image_size": 2**70}, f"at most {MAX_IMAGE_SIZE}"),
    "an input of text": ({"image_size": "1024"}, "found: "),
    "a negative input": ({"image_size": -256}, "found: "),
    "the largest model": ({"arch": "vit_h", "image_size": None}, "tensors"),
    "another architecture": ({"arch": "vit_b", "image_size": None}, "missing"),
    "no architecture": ({"arch": "../../etc/passwd"}, "unknown architecture"),
    "an architecture in a list": ({"arch": ["vit_b"]}, "unhashable"),
    "updates of gigabytes": ({"adapt": {"lora": {"rank": 10**7}}}, "missing"),
    "adapters of gigabytes": ({"adapt": {"adapter": {"dim": 10**8}}}, "missing"),
    "updates beyond 64 bits": ({"adapt": {"lora": {"rank": 10**30}}}, "found: "),
    "channels": ({"channels": {"count": 10**9}}, "out of range"),
    "an unknown setting": ({"__class__": "os.system"}, "unexpected keyword"),
    "a class to make": ({"class_path": "os.system", "init_args": {}}, "unexpected keyword"),
    "no step": ({"loss_stride": 0}, "found: "),
    "a list of presets": ({"adapt": []}, "found: "),
    "prompts of text": ({"prompts": {"mix": "all"}}, "found: "),
}


@pytest.mark.parametrize("form", SETTINGS)
def test_settings_that_ask_for_more_than_the_file_holds(run, content, form):
    changes, words = SETTINGS[form]
    settings = content["hyper_parameters"] | changes
    path = saved(run, few(content) | {"hyper_parameters": settings})
    error = refused_by(load_module, path, words, kind=CheckpointError)
    assert error.what == "this checkpoint does not fit this version of samft"


@pytest.mark.parametrize("weights", ["/etc/passwd", "facebook/sam-vit-huge", "vit_h", 5])
def test_a_checkpoint_does_not_choose_other_weights(run, content, weights, monkeypatch):
    """Else it could have any file read, and any repository fetched."""
    monkeypatch.setattr("samft.module.load_weights", lambda *_: pytest.fail("weights were loaded"))
    settings = content["hyper_parameters"] | {"weights": weights}
    module = load_module(saved(run, content | {"hyper_parameters": settings}))
    assert module.base_weights == {}


def test_a_few_values_that_pose_as_a_model(run, content):
    one = torch.zeros(())
    state = {
        key: one.expand(value.shape) if value.is_floating_point() else value
        for key, value in content["state_dict"].items()
    }
    refused_by(load_module, saved(run, content | {"state_dict": state}), "that pose as")
    views = {key: torch.zeros(9)[:4].view(2, 2) for key in "abc"}
    check_stored({key: torch.empty(2, 2, device="meta") for key in "abc"}, views)


OTHERS = {
    "no dictionary": ([1, 2], "a list"),
    "nothing": ({}, "no state_dict"),
    "no settings": ({"state_dict": {}}, "no hyper_parameters"),
    "weights in a list": ({"state_dict": [], "hyper_parameters": {}}, "a state_dict of"),
    "weights of numbers": ({"state_dict": {"a": 1}, "hyper_parameters": {}}, "a state_dict of"),
    "weights by number": (
        {"state_dict": {1: torch.zeros(1)}, "hyper_parameters": {}},
        "a state_dict of",
    ),
    "settings in a list": ({"state_dict": {}, "hyper_parameters": ["a"]}, "a hyper_parameters of"),
    "settings by number": ({"state_dict": {}, "hyper_parameters": {1: 2}}, "a hyper_parameters of"),
    "a list of facts": ({"state_dict": {}, "hyper_parameters": {}, "samft": [1]}, "samft"),
    "facts of text": (
        {"state_dict": {}, "hyper_parameters": {}, "samft": {"history": "x"}},
        "samft.history",
    ),
    "weights from a number": (
        {"state_dict": {}, "hyper_parameters": {}, "samft": {"base_weights": 5}},
        "samft.base_weights",
    ),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_no_checkpoint(run, form):
    found, words = OTHERS[form]
    refused_by(read_checkpoint, saved(run, found), words, "written by samft fit")


PROGRESS = {"current": {"processed": 2, "ready": 1, "completed": 0}}


def state_of_a_run(**changes):
    loops = {"epoch_progress": PROGRESS, "epoch_loop.val_loop.batch_progress": PROGRESS}
    return {
        "state_dict": {},
        "hyper_parameters": {},
        "loops": {"fit_loop": loops},
        "global_step": 7,
        "callbacks": {"EarlyStopping": {"stopped_epoch": 0}},
    } | changes


def test_a_run_that_can_go_on(run):
    saved(run, state_of_a_run())
    found = find_stopped_run(run.parent.parent)
    assert (found.step, found.epoch, found.validates, found.stopped_early) == (7, 2, True, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"loops": None},
        {"loops": {}},
        {"loops": {"fit_loop": {"epoch_progress": PROGRESS}}},
        {"loops": {"fit_loop": [1]}},
        {"global_step": "x"},
        {"global_step": None},
        {"global_step": float("nan")},
        {"global_step": float("inf")},
        {"global_step": torch.zeros(3)},
        {"callbacks": [1, 2]},
        {"callbacks": {"EarlyStopping": {"stopped_epoch": torch.zeros(3)}}},
    ],
)
def test_a_run_that_does_not_say_how_far_it_came(run, changes):
    saved(run, state_of_a_run(**changes))

    def resume(path):
        find_stopped_run(path.parent.parent)

    refused_by(resume, run, "does not say how far", "samft fit --config", kind=CheckpointError)
