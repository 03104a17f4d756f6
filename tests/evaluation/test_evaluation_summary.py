import json
import math
from dataclasses import replace
from datetime import datetime

import pytest
from evaluation_tables import (
    NAN,
    box_rows,
    facts,
    image_row,
    object_row,
    records,
    summary_of,
)

import samft
from samft.evaluation.facts import CompetitorRecord
from samft.evaluation.plain_json import plain, without_folders
from samft.evaluation.rows import Rows
from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.summary import summarise

KEYS = {
    *("format", "version", "samft", "created", "split", "data", "environment", "settings"),
    *("models", "reference", "unit", "scores", "by_class", "by_size", "clicks", "differences"),
    *("images", "instances", "calibration", "empty", "gallery"),
}


def test_means_are_over_objects_and_missing_scores_are_counted():
    rows = [
        object_row("tuned", "box", "a", 1, iou=0.4, hd95=3.0),
        object_row("tuned", "box", "a", 2, iou=0.6, hd95=5.0),
        object_row("tuned", "box", "b", 1, iou=0.2, hd95=NAN),
    ]
    scores = summary_of(Rows(objects=rows), "tuned").scores["box"]["tuned"]
    assert scores == {
        "iou": pytest.approx(0.4),
        "hd95": pytest.approx(4.0),
        "left_out_hd95": 1,
        "num_objects": 3,
    }


def test_models_are_compared_over_the_same_objects():
    rows = Rows(objects=box_rows({"tuned": [0.2, 0.4, 0.9], "zero-shot": [0.1, 0.3]}))
    found = summary_of(rows)
    assert found.scores["box"]["tuned"]["iou"] == pytest.approx(0.3)
    assert found.scores["box"]["tuned"]["num_objects"] == 2
    assert (found.num_objects, found.num_cases) == (3, 3)
    (difference,) = found.differences
    assert (difference.mean, difference.num_groups) == (pytest.approx(0.1), 2)


def test_a_baseline_without_points_does_not_take_part_in_them():
    rows = box_rows({"tuned": [0.5, 0.7], "zero-shot": [0.5, 0.5], "ellipse": [0.3, 0.3]})
    rows += box_rows({"tuned": [0.9, 0.8], "zero-shot": [0.1, 0.2]}, prompt="point1")
    found = summary_of(Rows(objects=rows), "tuned", "zero-shot", "ellipse")
    assert list(found.scores) == ["box", "point1"]
    assert list(found.scores["box"]) == ["tuned", "zero-shot", "ellipse"]
    assert list(found.scores["point1"]) == ["tuned", "zero-shot"]
    pairs = [(each.prompt, each.model, each.reference) for each in found.differences]
    assert pairs == [
        ("box", "tuned", "zero-shot"),
        ("box", "ellipse", "zero-shot"),
        ("box", "tuned", "ellipse"),
        ("point1", "tuned", "zero-shot"),
    ]


def test_classes():
    rows = [
        object_row("m", "box", "a", 1, iou=0.2, class_name="lung"),
        object_row("m", "box", "a", 2, iou=0.6, class_name="lung"),
        object_row("m", "box", "a", 3, iou=0.9, class_name="heart"),
        object_row("m", "box", "a", 4, iou=0.5),
    ]
    found = summary_of(Rows(objects=rows), "m", classes=("heart", "spleen", "lung"))
    classes = found.by_class["box"]
    assert list(classes) == ["heart", "lung", ""]
    assert classes["lung"]["m"] == {"iou": pytest.approx(0.4), "num_objects": 2}
    assert classes["heart"]["m"]["iou"] == 0.9


def test_sizes():
    areas = [100, 1023, 1024, 20_000]
    rows = [
        object_row("m", "box", "a", number, iou=number / 10, area=area)
        for number, area in enumerate(areas, start=1)
    ]
    found = summary_of(Rows(objects=rows), "m").to_dict()["by_size"]
    coco = [
        (each["num_objects"], each["scores"].get("box", {}).get("m", {}).get("iou"))
        for each in found["coco"]
    ]
    assert coco == [(2, 0.15), (1, 0.3), (1, 0.4)]
    quartiles = [(each["low"], each["high"], each["num_objects"]) for each in found["quartiles"]]
    assert quartiles == [(100, 1023, 1), (1023, 1024, 1), (1024, 20_000, 1), (20_000, 20_001, 1)]


def test_a_size_without_objects_has_no_scores():
    found = summary_of(Rows(objects=box_rows({"m": [0.5]})), "m").to_dict()["by_size"]["coco"]
    assert [each["num_objects"] for each in found] == [1, 0, 0]
    assert [each["scores"] for each in found[1:]] == [{}, {}]
    assert found[2]["high"] is None


def test_clicks():
    curve = {"tuned": [(0.5, 0.9, 0.95), (0.86, 0.88, 0.6)], "box_only": []}
    rows = [
        object_row(model, f"point{click}", f"s{number}", iou=iou)
        for model, objects in curve.items()
        for number, ious in enumerate(objects)
        for click, iou in enumerate(ious, start=1)
    ]
    rows += [object_row("tuned", f"point{click}", "s2", iou=NAN) for click in (1, 2, 3)]
    rows += [object_row("box_only", "box", "s0", iou=0.5)]
    found = summary_of(Rows(objects=rows), "tuned", "box_only", reference=None).clicks
    assert list(found) == ["tuned"]
    clicks = found["tuned"]
    # Means .68, .89, .775; trapezoids (.785 + .8325) / 2.
    assert clicks["iou"] == pytest.approx([0.68, 0.89, 0.775], abs=1e-6)
    assert clicks["click_auc"] == pytest.approx(0.80875, abs=1e-6)
    assert (clicks["noc_85"], clicks["failed_85"]) == (1.5, 0)
    assert (clicks["noc_90"], clicks["failed_90"]) == (2.5, 0.5)  # 2, and 3 where never reached
    assert clicks["num_objects"] == 2


def test_a_gap_in_the_clicks_ends_the_curve():
    rows = [object_row("m", f"point{click}", "s", iou=0.5) for click in (1, 2, 4)]
    assert len(summary_of(Rows(objects=rows), "m").clicks["m"]["iou"]) == 2


def test_calibration():
    pairs = ((0.95, 0.75), (0.91, 0.85), (0.05, 0.35), (1.4, 1.0))
    rows = [
        object_row("m", "box", f"s{number}", iou=true, predicted_iou=predicted)
        for number, (predicted, true) in enumerate(pairs)
    ]
    rows.append(object_row("m", "box", "s9", iou=0.5))
    found = summary_of(Rows(objects=rows), "m").calibration["box"]["m"]
    # Gaps .2, .06, -.3, 0 (clipped to 1): the last bin holds three.
    assert found["iou_mae"] == pytest.approx(0.14)
    assert found["iou_bias"] == pytest.approx(-0.01)
    assert found["iou_ece"] == pytest.approx((0.26 + 0.3) / 4)
    assert [each["count"] for each in found["bins"]] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert found["bins"][9]["true"] == pytest.approx(2.6 / 3)
    assert math.isnan(found["bins"][1]["true"])
    assert found["num_objects"] == 4


def test_what_predicts_no_iou_has_no_calibration():
    assert summary_of(Rows(objects=box_rows({"m": [0.5]})), "m").calibration == {}


def test_empty_answers_are_those_without_overlap_and_distance():
    rows = [
        object_row("m", "box", "a", iou=0.0, hd95=NAN),
        object_row("m", "box", "b", iou=0.0, hd95=40.0),
        object_row("m", "box", "c", iou=0.5, hd95=1.0),
    ]
    found = summary_of(Rows(objects=rows), "m").empty
    assert found == {"box": {"m": {"num_missed": 1, "num_objects": 3}}}
    without = summary_of(Rows(objects=box_rows({"m": [0.0]})), "m")
    assert without.to_dict()["empty"]["box"]["m"]["num_missed"] is None


def test_images_and_instances():
    images = [
        image_row("m", "box", "a", class_name="lung", dice=0.8, hd95=2.0),
        image_row("m", "box", "b", class_name="lung", dice=0.6, hd95=NAN),
        image_row("m", "box", "b", class_name="heart", dice=0.5, hd95=1.0),
        image_row("m", "auto", "a", f1=0.5, pq=0.25),
        image_row("m", "auto", "b", f1=1.0, pq=0.75),
    ]
    found = summary_of(Rows(images=images), "m").to_dict()
    assert set(found["images"]) == {"box"}
    lung = found["images"]["box"]["m"]["lung"]
    assert (lung["dice"], lung["hd95"], lung["left_out_hd95"]) == (0.7, 2.0, 1)
    assert lung["num_images"] == 2
    assert found["images"]["box"]["m"]["heart"]["num_images"] == 1
    instances = found["instances"]["m"]
    assert (instances["f1"], instances["pq"], instances["num_images"]) == (0.75, 0.5, 2)


def test_distances_of_different_units_have_no_mean():
    rows = [
        object_row("m", "box", "a", iou=0.5, hd95=1.0, nsd=0.5, unit="mm"),
        object_row("m", "box", "b", iou=0.7, hd95=9.0, nsd=0.7, unit="px"),
    ]
    found = summary_of(Rows(objects=rows), "m")
    assert found.unit == "mixed"
    assert "hd95" not in found.scores["box"]["m"]
    assert found.scores["box"]["m"]["nsd"] == pytest.approx(0.6)
    assert summary_of(Rows(objects=rows[:1]), "m").unit == "mm"


def test_metrics_json():
    rows = Rows(objects=box_rows({"tuned": [0.9, NAN], "zero-shot": [0.5, 0.25]}))
    found = summary_of(rows).to_dict()
    assert set(found) == KEYS
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["format"], found["version"], found["samft"]) == (
        "samft-test",
        1,
        samft.__version__,
    )
    assert datetime.fromisoformat(found["created"]).utcoffset().total_seconds() == 0
    assert found["data"] == {
        "root": "data",
        "images": 2,
        "cases": 2,
        "objects": 2,
        "classes": [],
        "sha256": "abc",
    }
    assert found["split"] == "test"
    assert set(found["environment"]) == {
        *("python", "torch", "lightning", "samft", "platform", "device")
    }
    assert found["models"][0] == {
        "name": "tuned",
        "kind": "sam",
        "prompts": ["box"],
        "seconds": 1.5,
    }
    assert found["scores"]["box"]["tuned"] == {"iou": 0.9, "left_out_iou": 1, "num_objects": 2}
    (difference,) = found["differences"]
    assert difference["mean"] == 0.4
    assert difference["clear"] is False
    assert (difference["left_out"], difference["level"]) == (1, 0.95)
    assert found["settings"]["samples"] == 10_000


def test_nothing_was_answered():
    found = summary_of(Rows(), reference=None).to_dict()
    assert set(found) == KEYS
    empty = {"scores", "by_class", "clicks", "images", "instances", "calibration", "empty"}
    assert all(found[name] == {} for name in empty)
    assert (found["differences"], found["gallery"], found["data"]["objects"]) == ([], [], 0)
    assert found["by_size"]["quartiles"] == []


def test_only_nan_was_scored():
    rows = Rows(objects=[object_row("tuned", "box", "a", iou=NAN, dice=NAN, hd95=NAN)])
    found = summary_of(rows, "tuned").to_dict()
    assert found["scores"]["box"]["tuned"]["iou"] is None
    assert found["empty"]["box"]["tuned"]["num_missed"] == 0


def test_without_a_reference_the_first_model_is_still_compared_with_others():
    rows = Rows(objects=box_rows({"random": [0.5, 0.6], "unet": [0.7, 0.9]}))
    (found,) = summary_of(rows, "random", "unet", reference=None).differences
    assert (found.model, found.reference) == ("random", "unet")
    assert found.mean == pytest.approx(-0.25)


def test_one_model_without_reference_has_no_differences():
    found = summary_of(Rows(objects=box_rows({"m": [0.5, 0.6]})), "m", reference=None)
    assert found.differences == ()
    assert found.to_dict()["reference"] is None


def test_no_absolute_path_gets_out():
    record = CompetitorRecord(
        name="tuned",
        kind="sam",
        prompts=(),
        seconds=1,
        description={"source": "/home/jo/run/best.ckpt", "name": "other", "list": ["C:\\x\\y.pt"]},
    )
    found = summarise(
        Rows(),
        competitors=[record, *records("b")],
        settings=EvaluationSettings(against=["own=/home/jo/a.ckpt", "runs/b"], out="/home/jo/out"),
        data=replace(facts(), root="/home/jo/patients"),
        reference=None,
        device="cpu",
    ).to_dict()
    assert "/home" not in json.dumps(found)
    assert found["models"][0]["source"] == "best.ckpt"
    assert found["models"][0]["list"] == ["y.pt"]
    assert found["models"][0]["name"] == "tuned"  # a description does not replace it
    assert found["settings"]["against"] == ["own=a.ckpt", "runs/b"]
    assert found["data"]["root"] == "patients"


def test_plain_values():
    assert plain({"a": (1, 2.123456789, math.inf, True, None)}) == {
        "a": [1, 2.123457, None, True, None]
    }
    assert without_folders("a = b") == "a = b"
    assert without_folders("~/runs/x") == "x"
    assert without_folders(3) == 3
