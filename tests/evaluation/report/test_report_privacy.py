"""No folder, no user and no file name reaches a report unless it is asked for."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks.report import DrawnTest, make_results, make_run
from samft.evaluation.report.building import build_report
from samft.evaluation.report.pictures import read_picture
from samft.evaluation.report.privacy import Privacy

FILES = ("report.html", "report.md", "metrics.json", "model_card.md")
PLANTED = ("mueller_anna", "/home/", "klinikum", "C:\\Users", "hospital-pc", "patient_00000")


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path / "mueller_anna" / "runs" / "ct" / "0", epochs=2)
    test = DrawnTest(images=3, objects=3, clicks=1, pictures=1, edge=60)
    make_results(folder / "test", test)
    config = yaml.safe_load((folder / "config.fit.yaml").read_text(encoding="utf-8"))
    config["data"]["init_args"] |= {
        "root": "../mueller_anna/klinikum/nuclei",
        "images": ["/home/mueller_anna/a b/one.nii", "C:\\Users\\mueller_anna\\two.nii"],
        "note": "see /home/Mueller Anna/klinikum/notes, or file:///home/mueller_anna/x",
        "lists": {"/home/mueller_anna": "~/klinikum/x"},
    }
    (folder / "config.fit.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {"python": "3.11", "user": "mueller_anna", "hostname": "hospital-pc"}
    (folder / "env.json").write_text(json.dumps(environment), encoding="utf-8")
    files = {f"klinikum/mueller_anna_{n}.dcm": "00" * 32 for n in range(30)}
    data = {"root": "/home/mueller_anna/ct", "splits": {"train": {"files": files, "images": 30}}}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    path = folder / "test" / "metrics.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["data"]["root"] = "/home/mueller_anna/ct"
    content["settings"]["against"] = ["other=/home/mueller_anna/runs/x/0"]
    content["models"][0]["source"] = str(folder / "checkpoints" / "best.ckpt")
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_nothing_personal_is_in_any_file(run):
    build_report(run)
    for name in FILES:
        text = (run / name).read_text(encoding="utf-8")
        for planted in (*PLANTED, str(run.parent)):
            assert planted not in text, (name, planted)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "…/ct" in page
    assert "checkpoints/best.ckpt" in page
    assert "case-" in page
    assert "30 entries, sha256" in page


def test_keep_names_shows_everything(run):
    build_report(run, keep_names=True)
    page = (run / "report.html").read_text(encoding="utf-8")
    for shown in ("/home/mueller_anna/ct", "site_0/patient_00000.png", "hospital-pc"):
        assert shown in page
    assert "case-" not in page
    content = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert content["gallery"][0]["sample_id"] == "site_0/patient_00000.png"


def test_a_case_has_the_same_label_in_the_table_the_gallery_and_the_copy(run):
    build_report(run)
    label = Privacy().case("site_0/patient_00000.png")
    assert label == "case-f2d16009"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f'<th scope="row">{label}</th>' in page
    assert f"{label}, object 1" in page
    content = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert content["gallery"][0]["sample_id"] == label


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ann/data/ct", "…/ct"),
        ("/home/Ann Smith/data", "…/data"),
        ("C:\\Users\\ann\\data", "…/data"),
        ("\\\\server\\share\\data", "…/data"),
        ("file:///home/ann/data", "…/data"),
        ("~/data", "…/data"),
        ("a=/home/ann/x.ckpt", "a=…/x.ckpt"),
        ("docker:/home/ann/x", "docker:…/x"),
        ("no such file: '/home/ann/x y/z'", "no such file: '…/z'"),
        ("see /home/ann smith/x", "see …/x"),
        ("runs/ct/0", "runs/ct/0"),
        ("../up", "../up"),
        ("/home/ann", "…"),
        ("C:\\Users\\ann\\", "…"),
        ("in /home/ann", "in …"),
        ("val/iou", "val/iou"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("1 / 2, and/or", "1 / 2, and/or"),
        ("example:ct_chest", "example:ct_chest"),
        ("/work/run/test/x.json", "test/x.json"),
        ("/work/run", "."),
        ("/work/run2/x", "…/x"),
    ],
)
def test_absolute_paths_lose_their_folders(text, shown):
    assert Privacy(Path("/work/run")).text(text) == shown
    assert Privacy(Path("/work/run"), keep_names=True).text(text) == text


def test_models_called_by_their_paths_stay_apart():
    names = ["/home/ann/a/0", "/home/bob/a/0", "/home/ann/runs/ct/0", "/home/ann/0", "vit_b"]
    labels = Privacy().models(names)
    assert list(labels.values()) == ["a/0", "a/0 (2)", "runs/ct/0", "0", "vit_b"]


def test_a_numbered_run_keeps_the_folder_above_it_unless_that_is_a_home():
    privacy = Privacy()
    assert privacy.run_label("/data/nuclei/3") == "nuclei/3"
    assert privacy.run_label("/data/nuclei/best") == "best"
    assert privacy.run_label("/home/alice/3") == "3"
    assert privacy.run_label("C:\\Users\\alice\\3") == "3"


@pytest.mark.parametrize("name", ["package:slicerio/data", "example:ct_chest"])
def test_data_that_comes_with_a_package_is_named(name):
    assert Privacy().last_part(name) == name
    assert Privacy().last_part(f"{name}/../../home/alice/x") == "…/x"


@pytest.mark.parametrize(
    "name", ["", "../a.png", "/etc/passwd", "a\0.png", "\ud800.png", "x" * 300, "x/" * 3000]
)
def test_pictures_of_names_that_lead_nowhere(tmp_path, name):
    folder = tmp_path / "results"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(folder / "a.png")
    assert read_picture(folder, "a.png", ("", "")) is not None
    assert read_picture(folder, name, ("", "")) is None
