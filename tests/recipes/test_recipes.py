"""Every recipe and every config fragment: parsed as it is, and trained for two steps."""

from pathlib import Path

import pytest
import torch
import yaml

from samft.checkpoints import load_module
from samft.cli.configs import find_config, read_config
from samft.cli.lightning import SamftCLI, run
from samft.runs import load_run

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("*.yaml"))
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml"))
STACKED = [
    path for path in CONFIGS if not path.startswith("configs/data/")
]  # see test_data_configs
DATA = {
    "recipes/folder.yaml": "label_tiff_folder",
    "recipes/microscopy.yaml": "dsb_folder",
    "recipes/underwater.yaml": "suim_folder",
}
NANO = [
    *("--model.arch", "vit_nano", "--model.weights", "null", "--model.image_size", "128"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true"),
    *("--trainer.devices", "1", "--trainer.strategy", "auto", "--trainer.plugins", "null"),
    *("--trainer.max_steps", "2", "--trainer.limit_val_batches", "1"),
    *("--trainer.max_epochs", "2", "--trainer.check_val_every_n_epoch", "1"),
    *("--trainer.limit_train_batches", "1", "--trainer.enable_progress_bar", "false"),
    *("--trainer.enable_model_summary", "false", "--data.num_workers", "0"),
    *("--data.batch_size", "2"),  # `auto` has tests of its own, and large ones show no more
]


def two_steps(tmp_path: Path, *arguments: str) -> SamftCLI:
    return run(["fit", *arguments, *NANO, "--runs", str(tmp_path / "runs")])


def test_all_are_found() -> None:
    assert len(RECIPES) == 6
    assert len(CONFIGS) == 46


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_trains_two_steps_and_leaves_a_run(recipe, tmp_path, request) -> None:
    root = request.getfixturevalue(DATA[recipe]) if recipe in DATA else None
    extra = ["--data.root", str(root)] if root else []
    line = two_steps(tmp_path, "--config", str(ROOT / recipe), *extra)
    assert line.trainer.global_step == 2
    folder = tmp_path / "runs" / Path(recipe).stem / "0"
    saved = yaml.safe_load((folder / "config.fit.yaml").read_text())
    assert saved["model"]["class_path"] == "samft.SamModule"
    assert (folder / "metrics.csv").read_text().count("\n") >= 2
    assert (folder / "overlays" / "best.png").is_file()
    module = load_module(load_run(folder).checkpoint)
    for name, tensor in module.state_dict().items():
        assert tensor.isfinite().all() if tensor.is_floating_point() else True, name
    assert set(module.zero_shot) >= {"val/iou_box", "val/iou_point1"}


@pytest.mark.parametrize("config", STACKED)
def test_config_stacks_on_a_recipe(config, tmp_path, dsb_folder) -> None:
    recipe = ROOT / "recipes" / "microscopy.yaml"
    line = two_steps(
        tmp_path,
        *("--config", str(recipe), "--config", str(ROOT / config)),
        *("--data.root", str(dsb_folder)),
        *("--model.image_size", "64", "--trainer.limit_val_batches", "0"),
        *("--trainer.num_sanity_val_steps", "0"),
    )
    assert line.trainer.global_step == 2
    init = line.config.fit.model.init_args
    wanted = yaml.safe_load((ROOT / config).read_text()).get("model", {}).get("init_args", {})
    for group, values in wanted.items():
        if isinstance(values, dict):
            for name, value in values.items():
                assert getattr(getattr(init, group), name) == value, f"{group}.{name}"


@pytest.mark.parametrize("path", RECIPES + CONFIGS)
def test_header_says_what_for_and_how_to_run(path: str) -> None:
    text = (ROOT / path).read_text()
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    assert len(lines[0]) > 25
    assert "samft fit --config" in text
    if path.startswith("recipes/"):
        for word in ("# Needs:", "# Run:", "# Result:", "# Licence:"):
            assert word in text, word
    assert read_config(find_config(str(ROOT / path)))


def test_saved_config_repeats_the_run(tmp_path) -> None:
    first = two_steps(tmp_path, "--config", str(ROOT / "recipes/quickstart.yaml"))
    saved = tmp_path / "runs" / "quickstart" / "0" / "config.fit.yaml"
    second = run(["fit", "--config", str(saved)])
    folder = tmp_path / "runs" / "config.fit" / "0"
    assert folder.is_dir()
    a, b = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
