"""The file of a trained U-Net."""

import json
import math

import pytest
import torch

import samft
from samft.errors import CheckpointError
from samft.evaluation.unet.competitor import load_unet
from samft.evaluation.unet.files import load_module, save_unet
from samft.evaluation.unet.module import UNetModule
from samft.evaluation.unet.training import Trained


@pytest.fixture(scope="module")
def trained() -> Trained:
    torch.manual_seed(0)
    row = {"step": 7, "seconds": 1.5, "score": 0.5, "dice": 0.5, "f1_split": math.nan}
    return Trained(
        module=UNetModule(1, ["cell", "spot"], 64, filters=4).eval(),
        seconds=2.5,
        total_seconds=3.0,
        steps=9,
        epochs=2.5,
        best_step=7,
        best=row,
        history=[row | {"step": 3, "score": 0.1}, row],
        device="cpu",
    )


@pytest.fixture
def file(trained, tmp_path):
    path = tmp_path / "baselines" / "unet.ckpt"
    save_unet(trained, path, {"seed": 4})
    return path


def test_round_trip(trained, file) -> None:
    module, facts = load_module(file)
    assert module.shape == trained.module.shape
    assert not module.training
    images = torch.rand(1, 1, 64, 64) * 255
    sizes = torch.tensor([[64, 64]])
    assert torch.equal(module(images, sizes), trained.module(images, sizes))
    assert facts["steps"] == 9
    assert module.split is True
    competitor = load_unet(file)
    assert (competitor.name, competitor.kind, competitor.clicks) == ("unet", "unet", False)
    assert competitor.class_names == ("cell", "spot")
    assert competitor.image_size == 64
    said = competitor.describe()
    assert said["seconds"] == 2.5
    assert said["num_parameters"] == trained.module.num_parameters
    json.dumps(said, allow_nan=False)


def test_weights_known_by_two_names_are_stored_once(trained, file) -> None:
    weights = 4 * trained.module.num_parameters
    assert weights < file.stat().st_size < 1.2 * weights + 100_000


def test_whether_borders_cut_is_kept(trained, tmp_path) -> None:
    trained.module.split = False
    try:
        save_unet(trained, tmp_path / "unet.ckpt", {})
    finally:
        trained.module.split = True
    assert load_unet(tmp_path / "unet.ckpt").split is False


def test_the_facts_are_plain_json(trained, file) -> None:
    facts = json.loads(file.with_suffix(".json").read_text("utf-8"))
    assert (facts["format"], facts["version"], facts["samft"]) == (
        "samft-unet",
        1,
        samft.__version__,
    )
    assert facts["val"] == {
        "step": 7, "seconds": 1.5, "score": 0.5, "dice": 0.5, "f1_split": None,
    }  # fmt: skip
    assert [row["step"] for row in facts["history"]] == [3, 7]
    assert (facts["seed"], facts["parameters"]) == (4, trained.module.num_parameters)
    assert sorted(path.name for path in file.parent.iterdir()) == ["unet.ckpt", "unet.json"]


def test_it_loads_with_weights_only(file) -> None:
    content = torch.load(file, weights_only=True)
    assert content["hyper_parameters"] == {
        "num_channels": 1, "class_names": ["cell", "spot"], "image_size": 64, "filters": 4,
    }  # fmt: skip


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="there is no U-Net here") as caught:
        load_unet(tmp_path / "unet.ckpt")
    assert caught.value.where == tmp_path / "unet.ckpt"
    assert caught.value.fix == "train one with samft baseline RUN"


def test_a_file_of_something_else(tmp_path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "unet.ckpt")
    with pytest.raises(CheckpointError, match="this file holds no U-Net of samft") as caught:
        load_unet(tmp_path / "unet.ckpt")
    assert caught.value.where == tmp_path / "unet.ckpt"


def _changed(file, **changes):
    torch.save(torch.load(file, weights_only=True) | changes, file)
    with pytest.raises(CheckpointError) as caught:
        load_module(file)
    assert caught.value.where == file
    assert "samft baseline RUN --overwrite" in caught.value.fix
    return caught.value


def test_a_file_of_another_version(file) -> None:
    error = _changed(file, version=2)
    assert "another version of samft" in error.what
    assert (error.found, error.expected) == ("format version 2", 1)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"hyper_parameters": None}, "object"),
        ({"hyper_parameters": {"class_names": ["a"]}}, "missing"),
        ({"hyper_parameters": {"class_names": "ab"}}, "a U-Net needs classes"),
        ({"state_dict": {}}, "Error(s) in loading state_dict"),
        ({"state_dict": 3}, "Expected state_dict"),
    ],
)
def test_a_file_that_contradicts_itself(file, changes, found) -> None:
    error = _changed(file, **changes)
    assert "do not fit what it says it is" in error.what
    assert found in error.found


def test_a_network_too_large_to_build_is_refused(file) -> None:
    plain = torch.load(file, weights_only=True)["hyper_parameters"] | {"filters": 10**6}
    assert "shape" in _changed(file, hyper_parameters=plain).found


def test_a_file_that_could_run_code(tmp_path) -> None:
    torch.save({"format": "samft-unet", "state_dict": print}, tmp_path / "unet.ckpt")
    with pytest.raises(CheckpointError, match="could run code"):
        load_unet(tmp_path / "unet.ckpt")
