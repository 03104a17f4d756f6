"""The main job from the command line: fit, validate, test, predict, in one small run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image
from pycocotools.coco import COCO

from samft.cli.entry import main
from samft.cli.lightning import run as run_lightning
from samft.cli.predicting.from_truth import TruthCLI
from samft.runs import load_run

ROOT = Path(__file__).parents[2]
SMALL = [
    *("--config", str(ROOT / "recipes/microscopy.yaml")),
    *("--config", str(ROOT / "configs/model/vit_nano.yaml")),
    *("--data.num_workers", "0", "--data.val_fraction", "0.3", "--data.test_fraction", "0.3"),
    *("--model.image_size", "64", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_progress_bar", "false"),
]


@pytest.fixture(scope="module")
def run_folder(dsb_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano model trained for two epochs on a tiny microscopy folder."""
    place = tmp_path_factory.mktemp("fit")
    words = ["fit", *SMALL, "--data.root", str(dsb_folder), "--trainer.max_epochs", "2"]
    assert main([*words, "--runs", str(place / "runs")]) == 0
    return place / "runs" / "microscopy" / "0"


def test_run_folder_holds_what_the_readme_says(run_folder: Path) -> None:
    assert yaml.safe_load((run_folder / "config.fit.yaml").read_text())["model"]
    names = sorted(path.name for path in (run_folder / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt"]
    rows = list(csv.DictReader((run_folder / "metrics.csv").open()))
    scored = [row for row in rows if row.get("val/iou_box")]
    assert len(scored) == 2
    assert scored[0]["zero_shot/iou_box"] == scored[1]["zero_shot/iou_box"] != ""
    picture = Image.open(run_folder / "overlays" / "best.png")
    assert picture.width > picture.height / 4
    assert torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)


def test_a_second_fit_gets_a_folder_of_its_own(run_folder: Path, dsb_folder: Path) -> None:
    before = (run_folder / "config.fit.yaml").read_bytes()
    saved = run_folder / "config.fit.yaml"
    again = run_folder.parents[1]
    assert main(["fit", "--config", str(saved), "--trainer.max_epochs", "1"]) == 0
    assert (again / "config.fit" / "0" / "checkpoints" / "last.ckpt").is_file()
    assert saved.read_bytes() == before


def test_a_stopped_run_goes_on_where_it_was(dsb_folder: Path, tmp_path: Path) -> None:
    # Nothing that depends on the planned length of the run, which differs between the two.
    steady = ["--model.optimizer.schedule", "constant", "--model.optimizer.warmup_steps", "0"]
    steady += ["--model.loss.balanced_bce", "0"]
    words = ["fit", *SMALL, "--data.root", str(dsb_folder), *steady]
    runs = tmp_path / "runs" / "microscopy"
    assert main([*words, "--trainer.max_epochs", "2", "--runs", str(tmp_path / "runs")]) == 0
    assert main([*words, "--trainer.max_epochs", "1", "--runs", str(tmp_path / "runs")]) == 0
    again = ["--ckpt_path", str(runs / "1"), "--trainer.max_epochs", "2"]
    assert main(["fit", *again, "--runs", str(tmp_path / "runs")]) == 0
    whole = load_run(runs / "0", which="last").load().state_dict()
    resumed = load_run(tmp_path / "runs" / "config.fit" / "0", which="last").load()
    assert all(torch.equal(whole[name], value) for name, value in resumed.state_dict().items())
    assert len(resumed.history) == 2


def test_scores_from_a_run(run_folder: Path, capsys) -> None:
    assert main(["validate", "--ckpt_path", str(run_folder)]) == 0
    assert "val/iou_box" in capsys.readouterr().out
    assert (run_folder / "config.validate.yaml").is_file()


def test_a_run_is_tested_beside_the_model_it_began_with(run_folder: Path, capsys) -> None:
    words = ["--evaluation.clicks", "2", "--evaluation.samples", "100", "--evaluation.gallery", "1"]
    assert main(["test", str(run_folder), "vit_nano", *words]) == 0
    shown = capsys.readouterr().out
    assert "tuned" in shown
    assert "zero-shot" in shown
    assert (run_folder / "config.test.yaml").is_file()
    found = json.loads((run_folder / "test" / "metrics.json").read_text())
    names = [each["name"] for each in found["models"]]
    assert names == ["tuned", "zero-shot", "filled_box", "ellipse", "otsu", "vit_nano"]
    assert (found["split"], found["reference"]) == ("test", "zero-shot")
    assert found["scores"]["box"]["zero-shot"] == found["scores"]["box"]["vit_nano"]
    assert found["gallery"]
    assert all((run_folder / "test" / each["picture"]).is_file() for each in found["gallery"])
    # The module's own test loop, which does not know of evaluations, as the other opinion.
    files = ["--config", str(run_folder / "config.fit.yaml"), "--trainer.logger", "false"]
    command = run_lightning(["predict", *files], kind=TruthCLI)
    module = load_run(run_folder).load()
    (scores,) = command.trainer.test(module, datamodule=command.datamodule, verbose=False)
    for prompt in ("box", "point1"):
        ours = found["scores"][prompt]["tuned"]
        assert ours["iou"] == pytest.approx(scores[f"test/iou_{prompt}"], abs=1e-5)
        assert ours["dice"] == pytest.approx(scores[f"test/dice_{prompt}"], abs=1e-5)


def test_validate_repeats_the_score_of_training(run_folder: Path, capsys) -> None:
    recorded = load_run(run_folder).load().history
    best = max(recorded, key=lambda entry: entry["val/iou"])["val/iou_box"]
    assert main(["validate", "--ckpt_path", str(run_folder)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "val/iou_box" in line)
    assert f"{best:.3f}" in row


def test_predict_with_boxes_and_points(run_folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "sub/b.png"):
        Image.fromarray(rng.integers(0, 255, (48, 60, 3), dtype=np.uint8)).save(photos / name)
    prompts = {
        "a.png": [{"box": [5, 5, 30, 30]}, {"points": [[40, 20], [10, 40]], "labels": [1, 0]}],
        "sub/b.png": [{"box": [5, 5, 50, 40], "points": [[20, 20]], "labels": [1]}],
    }
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    out = tmp_path / "out"
    words = [
        *("predict", str(run_folder), "--source", str(photos)),
        *("--prompts", str(tmp_path / "prompts.json"), "--out", str(out)),
        *("--format", "png", "tiff", "coco", "overlay"),
    ]
    assert main(words) == 0
    coco = COCO(out / "coco.json")
    assert [image["file_name"] for image in coco.loadImgs([1, 2])] == ["a.png", "sub/b.png"]
    assert [entry["image_id"] for entry in coco.loadAnns([1, 2, 3])] == [1, 1, 2]
    assert coco.loadAnns([1])[0]["prompt"]["box"] == pytest.approx([5, 5, 30, 30], abs=0.01)
    for name in ("a.png", "sub/b.png"):
        labels = np.asarray(Image.open(out / "labels" / f"{name}.png"))
        assert labels.shape == (48, 60)
        assert np.array_equal(labels, tifffile.imread(out / "labels" / f"{name}.tif"))
        assert Image.open(out / "overlays" / f"{name}.png").size == (60, 48)
    assert (out / "config.predict.yaml").is_file()
    assert main(words) == 0  # there is nothing left to do
    assert main(words[:-1]) == 2  # nothing is overwritten
    assert main([*words[:-1], "--overwrite"]) == 0


def test_predict_from_csv_and_a_single_checkpoint(run_folder: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((30, 40), 90, np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "p.csv").write_text("image,x1,y1,x2,y2\ngrey.png,2,3,20,25\ngrey.png,5,5,9,9\n")
    lonely = tmp_path / "model.ckpt"
    lonely.write_bytes((run_folder / "checkpoints" / "best.ckpt").read_bytes())
    words = ["predict", str(lonely), "--source", str(tmp_path / "grey.png")]
    words += ["--prompts", str(tmp_path / "p.csv"), "--out", str(tmp_path / "out")]
    assert main([*words, "--format", "coco"]) == 0
    document = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert len(document["annotations"]) == 2


def test_predict_from_truth(run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(run_folder), "--out", str(out)]) == 0
    document = json.loads((out / "coco.json").read_text())
    assert document["annotations"]
    assert all("box" in entry["prompt"] for entry in document["annotations"])


def test_predict_with_plain_weights(tmp_path: Path) -> None:
    from samft.models import build_sam

    torch.save(build_sam("vit_nano").state_dict(), tmp_path / "nano.pth")
    Image.fromarray(np.full((30, 40), 90, np.uint8)).save(tmp_path / "grey.png")
    (tmp_path / "p.json").write_text(json.dumps({"grey.png": [{"box": [2, 3, 20, 25]}]}))
    words = ["predict", "--weights", str(tmp_path / "nano.pth"), "--arch", "vit_nano"]
    words += ["--source", str(tmp_path / "grey.png"), "--prompts", str(tmp_path / "p.json")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "labels" / "grey.png.png").is_file()
