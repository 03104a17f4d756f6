"""`samft ratings`: sheets and their analysis."""

import csv
import json

import pytest
import torch
import yaml
from quick_trainer import quick_trainer

from samft import SamModule, SyntheticDataModule
from samft.cli.entry import main


@pytest.fixture(autouse=True)
def known_command(monkeypatch):
    """The command, whether or not the front door lists it yet."""
    monkeypatch.setitem(main.__globals__["COMMANDS"], "ratings", "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder: a checkpoint, and the configuration of its data."""
    folder = tmp_path_factory.mktemp("runs") / "shapes" / "0"
    torch.manual_seed(0)
    module = SamModule("vit_nano", image_size=64, prompts={"rounds": 0})
    trainer = quick_trainer(folder, max_steps=1, limit_val_batches=0)
    looks = {"looks": ["shapes"], "num_val": 1, "num_test": 4, "size": 96}
    trainer.fit(module, SyntheticDataModule(num_train=1, batch_size=1, **looks))
    trainer.save_checkpoint(folder / "checkpoints" / "best.ckpt")
    data = {"class_path": "samft.SyntheticDataModule", "init_args": looks}
    (folder / "config.fit.yaml").write_text(yaml.safe_dump({"data": data}))
    return folder


def _sheet(*words):
    return main(["ratings", "sheet", *map(str, words), "--device", "cpu"])


def test_from_a_run_to_the_analysis(finished, tmp_path, capsys) -> None:
    out = tmp_path / "study"
    assert _sheet(finished, "--out", out, "--masks", "2", "--min-side", "8") == 0
    said = capsys.readouterr().out
    assert "jobs        4: 2 objects of data, masks of shapes/0, truth" in said
    assert str(out / "rater_1" / "index.html") in said
    rows = list(csv.DictReader((out / "key.csv").open(newline="")))
    assert {row["model"] for row in rows} == {"shapes/0", "truth"}
    assert {row["class_name"] for row in rows} == {"shapes"}
    study = json.loads((out / "study.json").read_text("utf-8"))
    assert study["models"][0]["arch"] == "vit_nano"
    assert (study["data"]["split"], study["settings"]["masks"]) == (["test"], 2)
    filled = tmp_path / "anna.csv"
    marks = {"truth": "10", "shapes/0": "2,5"}
    lines = [f"{row['job']};{marks[row['model']]};" for row in rows]
    filled.write_text("job;rating;comment\n" + "\n".join(lines), "utf-8")
    words = ["ratings", "analyse", str(out / "key.csv"), str(filled), "--samples", "200"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "ratings (4 of 4 jobs)" in said
    assert "anna" in said
    found = json.loads((out / "analysis.json").read_text("utf-8"))
    assert [each["mean"] for each in found["models"]] == [10.0, 2.5]
    assert found["samples"] == 200
    assert (out / "analysis.md").is_file()


def test_an_earlier_study_is_not_replaced(finished, tmp_path, capsys) -> None:
    kept = tmp_path / "rater_1" / "ratings.csv"
    kept.parent.mkdir()
    kept.write_text("mine")
    (kept.parent / "index.html").write_text("page")
    words = [finished, "--out", tmp_path, "--masks", "1", "--min-side", "8"]
    assert _sheet(*words) == 2
    assert "the output folder is not empty" in capsys.readouterr().err
    assert kept.read_text() == "mine"
    other = tmp_path / "rater_notes"
    other.mkdir()
    assert _sheet(*words, "--overwrite") == 0
    assert kept.read_text().startswith("job,rating,comment")
    assert other.is_dir()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["vit_nano"], "there are no images to show"),
        (["nothing"], "there is no such model"),
        (["vit_nano", "--data", "nowhere"], "nowhere"),
        (["vit_nano", "--masks", "0"], "masks is out of range"),
        (["vit_nano", "--prompt", "text"], "--prompt"),
        (["vit_nano", "--device", "cuda:99"], "there is no such device"),
        (["x/unet.ckpt"], "there is no U-Net here"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    tmp_path, capsys, monkeypatch, words, complaint
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ratings", "sheet", *words, "--out", "study"]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_objects_that_are_too_small(finished, tmp_path, capsys) -> None:
    assert _sheet(finished, "--out", tmp_path / "study", "--min-side", "95") == 2
    said = capsys.readouterr().err
    assert "no object is large enough to be rated" in said
    assert "--min-side" in said


def test_tables_that_do_not_fit(tmp_path, capsys) -> None:
    key, sheet = tmp_path / "key.csv", tmp_path / "anna.csv"
    key.write_text("job,model,sample_id,object_id\nj1,a,x,1\n")
    sheet.write_text("job,rating\nj1,12\n")
    assert main(["ratings", "analyse", str(key), str(sheet)]) == 2
    said = capsys.readouterr().err
    assert "a rating is not on the scale" in said
    assert f"{sheet}, line 2" in said
    sheet.write_text("job,rating\nj1,2\n")
    words = ["ratings", "analyse", str(key), str(sheet)]
    assert main([*words, "--level", "1.5"]) == 2
    assert "an interval cannot be drawn like this" in capsys.readouterr().err
    assert main([*words, "--out", str(sheet / "out")]) == 2
    assert "the output folder cannot be written" in capsys.readouterr().err
    assert main([*words, "--data.root", "x"]) == 2
    assert "go with samft ratings sheet" in capsys.readouterr().err
    assert main(["ratings"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anna.csv", "key.csv"]
