"""`samft zeroshot` as people use it: models, data, options, what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fixtures_data import discs, picture, save

from samft.cli.commands.zeroshot import PROTOCOLS, build_parser, main
from samft.errors import ConfigError, DatasetError, OutputError, SamftError
from samft.models.checkpoint import save_state_dict
from samft.models.registry import build_sam
from samft.module import SamModule

IMAGE_SIZE = 64


@pytest.fixture(scope="module")
def run(tmp_path_factory, dsb_folder) -> Path:
    """A run folder of a model that was never trained, with the configuration of its data."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "cells" / "0"
    module = SamModule("vit_nano", image_size=IMAGE_SIZE)
    (folder / "checkpoints").mkdir(parents=True)
    stored = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    torch.save(stored, folder / "checkpoints" / "best.ckpt")
    data = {
        "class_path": "samft.MicroscopyDataModule",
        "init_args": {"root": str(dsb_folder), "val_fraction": 0.34},
    }
    (folder / "config.fit.yaml").write_text(yaml.safe_dump({"data": data}))
    return folder


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory) -> Path:
    """Three images of squares and a COCO file whose numbers are no row numbers."""
    root = tmp_path_factory.mktemp("coco")
    images, annotations = [], []
    for number in range(3):
        labels = discs(number, count=2)
        save(root / "images" / f"{number}.png", picture(labels, number))
        images.append({"id": 100 + number, "file_name": f"{number}.png", "height": 48, "width": 64})
        for left in (4, 34):
            corners = [left, 6, left + 20, 6, left + 20, 26, left, 26]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": 100 + number, "category_id": 17,
                 "segmentation": [corners], "bbox": [left, 6, 20, 20], "area": 400, "iscrowd": 0}
            )  # fmt: skip
    document = {
        "images": images, "annotations": annotations, "categories": [{"id": 17, "name": "disc"}],
    }  # fmt: skip
    (root / "instances.json").write_text(json.dumps(document))
    return root


def zeroshot(out: Path, *words: object) -> dict:
    assert main([*map(str, words), "--out", str(out), "--device", "cpu"]) == 0
    return json.loads((out / "metrics.json").read_text())


def cases(out: Path) -> list[dict[str, str]]:
    with (out / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_models_on_one_folder(run, dsb_folder, tmp_path, capsys):
    weights = tmp_path / "w.safetensors"
    save_state_dict(build_sam("vit_nano").state_dict(), weights)
    given = ("point", f"tuned={run}", weights, "--arch", "vit_nano", "--data", dsb_folder)
    small = ("--max-images", 2, "--clicks", 3, "--oracle", "false")
    found = zeroshot(tmp_path / "out", *given, *small)
    said = capsys.readouterr().out
    assert (found["format"], found["protocol"]) == ("samft-zeroshot", "point")
    assert [model["name"] for model in found["models"]] == ["tuned", "w"]
    assert found["models"][0]["source"] == "cells/0/checkpoints/best.ckpt"
    assert found["data"][0]["images"] == 2
    assert found["data"][0]["root"] == dsb_folder.name
    assert found["settings"] == {
        "first": "center", "clicks": 3, "oracle": False, "feed_mask": True, "seed": 0,
    }  # fmt: skip
    scores = found["scores"][dsb_folder.name]["w"]
    rows = [row for row in cases(tmp_path / "out") if row["model"] == "w"]
    assert len(rows) == scores["num_objects"] == 8
    mean = sum(float(row["iou_click3"]) for row in rows) / 8
    assert scores["iou_click3"] == pytest.approx(mean, abs=1e-6)
    assert [each["score"] for each in found["differences"]] == [
        "iou_click1", "iou_click2", "iou_click3",
    ]  # fmt: skip
    difference = found["differences"][2]
    other = found["scores"][dsb_folder.name]["tuned"]["iou_click3"]
    assert difference["mean"] == pytest.approx(mean - other, abs=1e-5)
    assert difference["num_groups"] == 2
    assert not difference["clear"]
    assert "the data may include images that tuned was tuned on" in said
    assert "only 2 cases, too few" in " ".join(said.split())
    assert str(tmp_path) not in (tmp_path / "out" / "metrics.json").read_text()


def test_a_run_answers_about_its_own_validation_images(run, tmp_path, capsys):
    found = zeroshot(tmp_path / "out", "point", run, "--clicks", 1, "--oracle", "no")
    assert found["data"][0]["split"] == ["val"]
    assert found["data"][0]["images"] == 2
    assert found["models"][0]["name"] == "cells/0"
    assert "note" not in capsys.readouterr().out
    with pytest.raises(OutputError, match="is not empty"):
        main(["point", str(run), "--out", str(tmp_path / "out")])
    again = zeroshot(tmp_path / "out", "point", run, "--clicks", 1, "--overwrite")
    mine, other = (next(iter(each["scores"].values()))["cells/0"] for each in (found, again))
    assert mine["iou_click1"] == other["iou_click1"]


def test_several_data_sets_have_a_mean(run, dsb_folder, coco_folder, tmp_path, capsys):
    words = ("--data", dsb_folder, "--data", coco_folder, "--clicks", 1, "--oracle", "false")
    found = zeroshot(tmp_path / "out", "point", f"a={run}", *words, "--max-images", 1)
    first, second = found["scores"].values()
    expected = (first["a"]["iou_click1"] + second["a"]["iou_click1"]) / 2
    assert found["means"]["a"]["iou_click1"] == pytest.approx(expected, abs=1e-6)
    assert "num_objects" not in found["means"]["a"]
    assert "mean of the data sets" in capsys.readouterr().out


def test_instances_from_the_truth_and_from_a_detector(run, coco_folder, tmp_path, capsys):
    given = ("instances", f"a={run}", "--data", coco_folder, "--baseline")
    truth = zeroshot(tmp_path / "truth", *given)
    assert "an upper bound" in capsys.readouterr().out
    assert truth["scores"][coco_folder.name]["filled box"]["ap"] == pytest.approx(1)
    assert [model["kind"] for model in truth["models"]] == ["sam", *["baseline"] * 4]
    boxes = [
        {"image_id": 100 + number, "category_id": 17, "bbox": [left, 6, 20, 20], "score": 0.5}
        for number in range(3)
        for left in (4, 34)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps([*boxes, {**boxes[0], "image_id": 1}]))
    found = zeroshot(tmp_path / "found", *given, "--boxes", tmp_path / "boxes.json")
    assert "boxes of images that the data does not have were left out: 1" in capsys.readouterr().out
    for name in ("a", "filled box", "ellipse"):
        own, detected = (each["scores"][coco_folder.name][name]["ap"] for each in (truth, found))
        assert detected == pytest.approx(own, abs=1e-6)
    rows = cases(tmp_path / "found")
    assert {row["class_name"] for row in rows} == {"disc"}
    assert {row["predicted_iou"] for row in rows if row["model"] == "ellipse"} == {""}


def test_an_encoder_that_fails_is_not_samfts_defect(run, coco_folder, tmp_path):
    name = "evaluation.zero_shot.fake_encoder:Failing"
    with pytest.raises(ConfigError, match="the encoder failed") as caught:
        zeroshot(tmp_path, "text", run, "--data", coco_folder, "--encoder", name)
    assert (caught.value.where, caught.value.found) == ("Failing", "RuntimeError: no weights here")


def test_the_data_of_the_first_run_among_the_models(run, tmp_path, capsys):
    weights = tmp_path / "w.safetensors"
    save_state_dict(build_sam("vit_nano", image_size=IMAGE_SIZE).state_dict(), weights)
    words = (f"plain={weights}", f"[/b]={run}", "--arch", "vit_nano", "--clicks", 1)
    found = zeroshot(tmp_path / "out", "point", *words, "--oracle", "false", "--max-images", 1)
    assert [model["name"] for model in found["models"]] == ["plain", "[/b]"]
    assert found["data"][0]["split"] == ["val"]
    said = capsys.readouterr().out
    assert "[/b]" in said
    assert "1 image\n" in said


def test_a_folder_that_cannot_be_written_is_refused_first(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("samft.cli.zeroshot.tasks.PointTask.run", None)
    with pytest.raises(OutputError, match="the output folder cannot be written") as caught:
        zeroshot(tmp_path / "file" / "out", "point", run, "--max-images", 1)
    assert caught.value.where == tmp_path / "file" / "out"
    assert caught.value.fix == "choose another --out"


def test_data_without_objects_is_worth_a_note(run, tmp_path, capsys):
    save(tmp_path / "data" / "images" / "0.png", np.zeros((48, 64, 3), np.uint8))
    save(tmp_path / "data" / "masks" / "0.png", np.zeros((48, 64), np.uint8))
    words = ("point", run, "--data", tmp_path / "data", "--clicks", 1)
    found = zeroshot(tmp_path / "out", *words)
    assert found["scores"]["data"]["cells/0"]["iou_click1"] is None
    assert "note: there was nothing to ask for" in capsys.readouterr().out


def test_boxes_about_data_without_numbers(run, dsb_folder, tmp_path):
    name = "stage1_train/case1/images/case1.png"
    box = {"category_id": 1, "bbox": [4, 6, 20, 20], "score": 0.5}
    path = tmp_path / "boxes.json"
    given = ("instances", run, "--data", dsb_folder, "--max-images", 6, "--boxes", path)
    path.write_text(json.dumps([{"image_id": "case1.png", "category_id": "nucleus", **box}]))
    with pytest.raises(DatasetError, match="no box of the file can be used") as caught:
        zeroshot(tmp_path / "out", *given)
    assert "categories that the data does not have" in str(caught.value)
    entry = {**box, "image_id": "case1.png", "category_id": "object"}
    path.write_text(json.dumps([entry, {**entry, "image_id": name}]))
    found = zeroshot(tmp_path / "out", *given)
    assert found["scores"][dsb_folder.name]["cells/0"]["num_boxes"] == 2


def test_edges_with_baselines(run, dsb_folder, tmp_path):
    words = ("--data", dsb_folder, "--max-images", 1, "--points-per-side", 2, "--thresholds", 9)
    found = zeroshot(tmp_path / "out", "edges", f"a={run}", *words, "--baseline", "--maps")
    scores = found["scores"][dsb_folder.name]
    assert list(scores) == ["a", "sobel", "canny"]
    assert scores["sobel"]["ods"] > 0.5  # bright discs on a dark ground
    assert len(list((tmp_path / "out" / "maps").rglob("*.png"))) == 3
    assert {row["model"] for row in cases(tmp_path / "out")} == {"a", "sobel", "canny"}


def test_proposals(run, dsb_folder, tmp_path):
    words = ("--data", dsb_folder, "--max-images", 1, "--points-per-side", 3, "--single-output")
    found = zeroshot(tmp_path / "out", "proposals", run, *words)
    settings = found["settings"]
    assert (settings["points_per_side"], settings["masks_per_point"]) == (3, "one")
    assert (settings["nms_thresh"], settings["rank"]) == (0.95, "random")
    assert "ar_1000" in found["scores"][dsb_folder.name]["cells/0"]


def test_text_with_an_encoder_of_ones_own(run, coco_folder, tmp_path):
    encoder = ("--encoder", "evaluation.zero_shot.fake_encoder:NanoEncoder")
    given = ("text", f"a={run}", "--data", coco_folder, *encoder)
    found = zeroshot(tmp_path / "a", *given)
    assert found["scores"][coco_folder.name]["a"]["num_texts"] == 3
    texts = {"images/1.png": [{"text": "the left one", "objects": [1]}]}
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    zeroshot(tmp_path / "b", *given, "--texts", tmp_path / "texts.json")
    (row,) = cases(tmp_path / "b")
    assert (row["text"], row["num_objects"]) == ("the left one", "1")
    texts["images/1.png"][0]["objects"] = [3]
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    with pytest.raises(DatasetError, match=r"object 3: 'the left one', expected: 1 to 2"):
        zeroshot(tmp_path / "c", *given, "--texts", tmp_path / "texts.json")


def test_text_without_an_encoder(run, coco_folder):
    with pytest.raises(ConfigError) as caught:
        main(["text", str(run), "--data", str(coco_folder)])
    assert "comes without a text encoder" in str(caught.value)
    assert "--encoder MODULE:CLASS" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "names no class"),
        ("os; x:y", "names no class"),
        ("no_such_module_here:A", "cannot be imported"),
        ("json:NoSuch", "cannot be imported"),
        ("json:JSONDecoder", "this is no text encoder"),
        ("json:loads", "this is no text encoder"),
        ("evaluation.zero_shot.fake_encoder:Demanding", "cannot be made"),
    ],
)
def test_encoders_that_are_none(name, message):
    with pytest.raises(ConfigError, match=message):
        main(["text", "vit_nano", "--data", ".", "--encoder", name])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dots"], r"no protocol called 'dots'"),
        (["point"], "required but not given: MODEL"),
        (["point", "vit_nano"], r"there is no data\n  where: samft zeroshot\n  fix: add --data"),
        (["point", "vit_nono", "--data", "."], r"no such model\n(.|\n)*did you mean 'vit_nano'"),
        (["edges", "canny=vit_nano", "--data", "."], "a model has the name of a baseline"),
        (["point", "=x", "--data", "."], "no name or no path"),
        (["point", "vit_nano", "--clicks", "0"], r"zeroshot\.point\.clicks"),
        (["point", "vit_nano", "--first", "left"], "invalid choice"),
        (["point", "vit_nano", "--feed-mask", "maybe"], "neither true nor false"),
        (["point", "vit_nano", "--max-images", "-1"], r"."),
        (["point", "vit_nano", "--cliks", "3"], r"unknown setting 'cliks'"),
        (["point", "vit_nano", "--data", ".", "--data.tile"], r"an option has no value"),
        (["point", "vit_nano", "--data", "/no/such"], "data folder does not exist"),
        (["instances", "vit_nano", "--data", "DSB", "--coco-ids", "x"], "belongs to --boxes"),
        (["point", "vit_nano", "--data", "DSB", "--split", "test"], "there is no test split"),
        (["point", "vit_nano", "--data", "DSB", "--data.tyle", "3"], r"unknown setting 'tyle'"),
        (
            ["point", "vit_nano", "--data", "DSB", "--data.tile=x"],
            r"wrong kind of value\n  where: data\.tile, found: x, expected: int or nothing$",
        ),
        (["point", "vit_nano", "--config", "configs/trainer/cpu.yaml"], "no data section"),
        (
            ["point", "vit_nano", "--config", "configs/data/dsb2018.yaml"],
            r"required but not given: root",
        ),
        (
            ["point", "vit_nano", *["--config", "configs/data/coco.yaml"] * 2, "--data", "."],
            "do not pair up",
        ),
    ],
)
def test_mistakes_are_explained(words, message, dsb_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [str(dsb_folder) if word == "DSB" else word for word in words]
    with pytest.raises(SamftError, match=message) as caught:
        main(words)
    assert len(str(caught.value).splitlines()) <= 3
    assert not (tmp_path / "zeroshot").exists()


def test_weights_need_their_architecture(tmp_path, dsb_folder):
    (tmp_path / "w.pth").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"architecture of the weights is not known(.|\n)*--arch"):
        main(["point", str(tmp_path / "w.pth"), "--data", str(dsb_folder)])


def test_help(capsys):
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(protocol in said for protocol in PROTOCOLS)
    for protocol in PROTOCOLS:
        text = " ".join(build_parser(protocol).format_help().split())
        assert "(default:" in text
        assert f"samft zeroshot {protocol}" in text
    assert "where the first point falls" in build_parser("point").format_help()
