"""`samft resume`: killed, cut short, finished, prolonged, changed."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils import _pytree as pytree

from samft.cli.commands.resume import main as resume
from samft.cli.lightning import main as fit
from samft.cli.resuming.stopped_run import find_stopped_run
from samft.errors import CheckpointError, ConfigError
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam

ROOT = Path(__file__).parents[2]


def weights_of(data: Path) -> Path:
    return data.parent / "nano.safetensors"


def options(data: Path, runs: Path) -> list[str]:
    model = {
        "class_path": "samft.SamModule",
        "init_args": {
            "arch": "vit_nano",
            "weights": str(weights_of(data)),
            "image_size": 64,
            "adapt": "full",
            "drop_path": 0.2,
            "validation_prompts": ["box"],
            "prompts": {"rounds": 1, "extra_passes": 0},
            "optimizer": {"warmup_steps": 0},
        },
    }
    config = {
        "model": model,
        "data": {
            "class_path": "samft.MicroscopyDataModule",
            "init_args": {
                "root": str(data),
                "batch_size": 1,
                "transforms": "flip",
                "val_fraction": 0.3,
            },
        },
        "trainer": {"accelerator": "cpu", "max_epochs": 2, "enable_progress_bar": False},
        "overlays": {"images": 0},
        "saving": {"every_n_steps": 1},
        "runs": str(runs),
    }
    path = runs / "tiny.yaml"
    runs.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return ["fit", "--config", str(path), "--trainer.log_every_n_steps", "1"]


@pytest.fixture(scope="module")
def data(dsb_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(dsb_folder, tmp_path_factory.mktemp("faults") / "data"))
    torch.manual_seed(1)
    save_state_dict(build_sam("vit_nano"), weights_of(folder))
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    runs = tmp_path_factory.mktemp("whole")
    assert fit(options(data, runs)) == 0
    return runs / "tiny" / "0"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "0"))


def state_of(run: Path, name: str = "last") -> dict:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def assert_same_run(run: Path, whole: Path) -> None:
    for name in ("last", "best"):
        one, other = state_of(run, name), state_of(whole, name)
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "samft", "global_step"):
            first, second = pytree.tree_flatten(one[key])[0], pytree.tree_flatten(other[key])[0]
            assert len(first) == len(second)
            for a, b in zip(first, second, strict=True):
                assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, (name, key)
    rows = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (run, whole)]
    for row in (*rows[0], *rows[1]):
        for name in [name for name in row if name.startswith("speed/")]:
            del row[name]
    assert rows[0] == rows[1]


def test_killed_at_random_and_resumed_is_the_same(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = options(data, tmp_path / "runs")
    run = tmp_path / "runs" / "tiny" / "0"
    code = "import sys; from samft.cli.entry import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    last = run / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 1.5))  # any step, any moment in it
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert last.is_file()
    gone = weights_of(data).rename(tmp_path / "gone")  # the checkpoint brings the weights
    assert resume([str(run)]) == 0
    gone.rename(weights_of(data))
    assert_same_run(run, whole)
    record = json.loads((run / "env.json").read_text())
    assert len(record.get("resumed", [])) <= 1


def test_a_finished_run_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "checkpoints" / "last.ckpt").read_bytes()
    assert resume([str(run)]) == 0
    shown = capsys.readouterr().out
    assert f"{run} is finished: 2 epochs, " in shown
    assert "--trainer.max_epochs 4" in shown
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before


def test_a_longer_run_says_what_becomes_of_the_schedule(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    steps = state_of(run)["global_step"]
    assert resume([str(run), "--trainer.max_epochs", "3"]) == 0
    assert f"{steps * 3 // 2} steps instead of {steps}, and the cosine schedule" in caplog.text
    assert "trainer.max_epochs was 2, now 3" in caplog.text
    assert f"goes on after step {steps}, in epoch 2" in caplog.text
    assert state_of(run)["global_step"] == steps * 3 // 2
    assert len(state_of(run)["samft"]["history"]) == 3
    config = yaml.safe_load((run / "config.fit.yaml").read_text())
    assert config["trainer"]["max_epochs"] == 3
    assert config.get("ckpt_path") is None
    record = json.loads((run / "env.json").read_text())
    assert record["settings"]["trainer.max_epochs"] == 3
    assert [entry["step"] for entry in record["resumed"]] == [steps]
    assert [path.name for path in run.parent.iterdir()] == ["0"]


def test_other_settings_are_refused_by_name(run: Path) -> None:
    with pytest.raises(ConfigError, match="the settings of the run have changed") as caught:
        resume([str(run), "--trainer.max_epochs", "3", "--model.optimizer.lr", "0.5"])
    assert "model.optimizer.lr was 0.0001, now 0.5" in str(caught.value)
    assert "--allow-changed" in str(caught.value)
    path = run / "config.fit.yaml"
    path.write_text(path.read_text().replace("transforms: flip", "transforms: null"))
    with pytest.raises(ConfigError, match="data.transforms was flip, now not set"):
        resume([str(run), "--trainer.max_epochs", "3"])


def test_other_data_is_refused_by_name(run: Path, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    path = next(copy.rglob("*images/*.png"))
    path.write_bytes(path.read_bytes() + b"more")
    words = [str(run), "--trainer.max_epochs", "3", "--data.root", str(copy)]
    with pytest.raises(ConfigError, match="the data of the run have changed") as caught:
        resume(words)
    assert f"{path.name} has " in str(caught.value)
    assert resume([*words, "--allow-changed"]) == 0
    assert len(state_of(run)["samft"]["history"]) == 3
    sizes = json.loads((run / "data.json").read_text())["splits"]
    listed = {name: entry for split in sizes.values() for name, entry in split["listing"].items()}
    assert listed[path.relative_to(copy).as_posix()][0] == path.stat().st_size


def test_a_last_checkpoint_cut_short_gives_way_to_the_best(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = run / "checkpoints" / "last.ckpt"
    best = state_of(run, "best")["global_step"]
    end = state_of(run)["global_step"]
    last.write_bytes(last.read_bytes()[:-100])
    found = find_stopped_run(run)
    assert (found.checkpoint, found.step) == (last.with_name("best.ckpt"), best)
    lost = f"about {end - best} steps are lost" if end > best else "little is lost"
    assert f"best.ckpt is used, of step {best}: {lost}" in caplog.text
    assert found.finished(max_epochs=2, max_steps=-1) == (best == end)
    for path in (last, last.with_name("best.ckpt")):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint of this run can be read") as caught:
        resume([str(run)])
    assert "samft fit --config" in str(caught.value)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not the folder of a run") as caught:
        resume([str(tmp_path)])
    assert "config.fit.yaml" in str(caught.value)
    with pytest.raises(ConfigError, match="the run comes first"):
        resume(["--trainer.max_epochs", "3", str(tmp_path)])


def test_records_name_versions_and_files_but_no_places(whole: Path, data: Path) -> None:
    record = json.loads((whole / "env.json").read_text())
    assert {"python", "torch", "lightning", "samft", "platform", "device", "seed"} <= record.keys()
    assert record["settings"]["model.arch"] == "vit_nano"
    files = json.loads((whole / "data.json").read_text())
    assert set(files["splits"]) == {"train", "val"}
    assert str(data) not in json.dumps(files)
