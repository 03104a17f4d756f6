"""What a run says about its data and its environment, and what it finds changed later."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from samft import FolderDataModule, SyntheticDataModule, run_data, run_environment
from samft.errors import CheckpointError, ConfigError
from samft.run_data import data_changes, describe_data
from samft.run_environment import (
    describe_environment,
    environment_changes,
    flat_settings,
    read_record,
    read_settings,
    recorded_settings,
    settings_changes,
    without_names,
)


def module_of(folder: Path, **settings: object) -> FolderDataModule:
    data = FolderDataModule(root=str(folder), image_size=64, **settings)
    data.prepare_index()
    return data


@pytest.fixture
def folder(index_mask_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(index_mask_folder, tmp_path / "data"))


def touch(path: Path) -> None:
    """Give a file another time of change."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 10**9))


def test_nothing_changed_and_nothing_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = json.loads(json.dumps(describe_data(module_of(folder))))
    train = stored["splits"]["train"]
    assert train["files"] == 2 * train["samples"] == len(train["listing"])
    assert str(folder) not in json.dumps(stored)
    monkeypatch.setattr(run_data, "_hash", None)
    assert data_changes(stored, module_of(folder)) == []


def test_a_copy_with_other_times_is_the_same(folder: Path, tmp_path: Path) -> None:
    stored = describe_data(module_of(folder))
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for path in copy.rglob("*.png"):
        touch(path)
    assert data_changes(stored, module_of(copy)) == []


def test_changes_are_named(folder: Path) -> None:
    stored = describe_data(module_of(folder))
    image = folder / "images" / "train" / "tile0.png"
    label = folder / "labels" / "train" / "tile1.png"
    content = bytearray(label.read_bytes())
    content[-1] ^= 1  # behind what a PNG needs
    label.write_bytes(content)
    touch(label)
    image.write_bytes(image.read_bytes() + b"more")
    changes = data_changes(stored, module_of(folder))
    size = image.stat().st_size
    assert changes == [
        f"train: images/train/tile0.png has {size} bytes, it had {size - 4}",
        "train: labels/train/tile1.png has other contents",
    ]
    for kind in ("images", "labels"):
        shutil.copy(folder / kind / "train/tile2.png", folder / kind / "train/tile9.png")
        (folder / kind / "test" / "tile4.png").unlink()
    changes = data_changes(stored, module_of(folder))
    assert "train: 3 samples have become 4" in changes
    assert "train: 2 files are new, such as images/train/tile9.png" in changes
    assert "test: 2 samples have become 1" in changes or changes[-1].startswith("and ")


def test_another_split_is_a_change(dsb_folder: Path) -> None:
    from samft import MicroscopyDataModule

    def split(seed: int) -> MicroscopyDataModule:
        data = MicroscopyDataModule(root=str(dsb_folder), seed=seed, image_size=64)
        data.prepare_index()
        return data

    stored = describe_data(split(0))
    assert data_changes(stored, split(0)) == []
    other = next(seed for seed in range(1, 20) if data_changes(stored, split(seed)))
    assert any("gone" in change for change in data_changes(stored, split(other)))


def test_without_time_for_contents_the_time_of_change_counts(folder: Path) -> None:
    stored = describe_data(module_of(folder), seconds=-1)
    listing = stored["splits"]["train"]["listing"]
    assert all(content is None for _, _, content in listing.values())
    assert data_changes(stored, module_of(folder)) == []
    touch(folder / "images" / "train" / "tile0.png")
    changes = data_changes(stored, module_of(folder))
    assert changes == ["train: images/train/tile0.png was written since"]


def test_many_files_are_told_apart_by_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_data, "_LISTED", 3)
    stored = json.loads(json.dumps(describe_data(module_of(folder))))
    assert "listing" not in stored["splits"]["train"]
    assert data_changes(stored, module_of(folder)) == []
    image = folder / "images" / "train" / "tile0.png"
    image.write_bytes(image.read_bytes() + b"more")
    (change,) = data_changes(stored, module_of(folder))
    assert change.startswith("train: files differ in 1 of 256 groups: there were 6 with ")


def test_drawn_data_has_no_files() -> None:
    data = SyntheticDataModule(image_size=64)
    assert describe_data(data)["splits"] == {}
    assert data_changes(describe_data(data), data) == []


def test_nobody_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "ada"))
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    words = ["samft", "fit", f"--data.root={tmp_path}/home/ada/scans", "/scratch/ada/x", "/adapt"]
    monkeypatch.setattr("sys.argv", ["/home/ada/bin/samft", *words[1:], "/home/bob/y"])
    found = describe_environment(device="cpu", world_size=1, precision="32", seed=7)
    text = json.dumps(found)
    assert "/ada" not in text.replace("/adapt", "")
    assert "bob" not in text
    assert os.uname().nodename not in text
    assert found["command"] == [
        *("samft", "fit", "--data.root=~/scans", "/scratch/USER/x", "/adapt", "~/y")
    ]
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert without_names("C:\\Users\\bob\\x") == "~\\x"


def test_other_versions_are_told() -> None:
    now = describe_environment(device="cpu", world_size=1, precision="32", seed=0)
    assert environment_changes(now, now) == []
    before = now | {"torch": "2.0", "device": "a GPU"}
    assert environment_changes(before, now) == [
        f"torch 2.0 has become {now['torch']}",
        "device a GPU has become cpu",
    ]


def test_settings_are_compared_flat() -> None:
    config = {"model": {"class_path": "m", "init_args": {"lr": 1, "none": None}}, "list": [1, 2]}
    flat = flat_settings(config)
    assert flat == {"model.class_path": "m", "model.lr": 1, "model.none": None, "list": [1, 2]}
    assert settings_changes(flat, flat | {"model.lr": 2, "other": None}) == {"model.lr": (1, 2)}


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / run_environment.ENVIRONMENT_RECORD
    assert read_record(path) is None
    for text in ("{", "[]", "[" * 100_000, '{"a": ' + "[" * 200 + "]" * 200 + "}"):
        path.write_text(text)
        with pytest.raises(CheckpointError, match="record of the run is damaged") as caught:
            read_record(path)
        assert str(path) in str(caught.value)
        assert "delete it" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"splits": [1]},
        {"splits": {"train": "x"}},
        {"splits": {"train": {"samples": "3", "files": 6, "bytes": 1}}},
        {"splits": {"train": {"samples": 3, "files": 6, "bytes": 1, "listing": [1]}}},
        {"splits": {"train": {"samples": 3, "files": 6, "bytes": 1, "listing": {"a": [1]}}}},
        {"splits": {"train": {"samples": 3, "files": 6, "bytes": 1, "parts": ["x"]}}},
    ],
)
def test_a_damaged_record_of_the_data_is_an_error(folder: Path, change: dict) -> None:
    with pytest.raises(CheckpointError, match="the record of the run's data is damaged") as caught:
        data_changes(change, module_of(folder))
    assert caught.value.where == "data.json: train"
    assert caught.value.fix == "delete the file; the data is then not compared"


def test_damaged_settings_are_an_error(tmp_path: Path) -> None:
    assert recorded_settings({}, tmp_path) == {}
    with pytest.raises(CheckpointError, match="the record of the run is damaged") as caught:
        recorded_settings({"settings": [1]}, tmp_path)
    assert caught.value.where == tmp_path / run_environment.ENVIRONMENT_RECORD
    path = tmp_path / "config.fit.yaml"
    assert read_settings(path) == {}
    for text in ("a: [", "a: &a [*a]", "\x00"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="configuration of the run cannot be read") as raised:
            read_settings(path)
        assert raised.value.where == path
        assert raised.value.fix == "restore the file from a copy"
