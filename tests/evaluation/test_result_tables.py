import io
from dataclasses import replace

import pytest
from evaluation_tables import NAN, box_rows, image_row, object_row, summary_of
from rich.console import Console

from samft.evaluation.averages import SizeScores
from samft.evaluation.facts import CompetitorRecord
from samft.evaluation.rows import Rows
from samft.evaluation.summary import Summary
from samft.evaluation.tables import print_summary, summary_tables
from samft.evaluation.verdict import (
    against_baselines,
    first_model,
    main_prompts,
    verdicts,
    warnings,
    written,
)


def printed(summary: Summary, width: int = 80) -> str:
    stream = io.StringIO()
    print_summary(summary, Console(file=stream, width=width))
    return stream.getvalue()


def many_cases(gain: float, *, cases: int = 24, prompt: str = "box") -> list:
    # Gains alternate a little, so that the interval has a width.
    return [
        object_row(model, prompt, f"case_{case:03d}", iou=iou, dice=iou, hd95=4 * (1 - iou))
        for case in range(cases)
        for model, iou in (("tuned", 0.5 + gain + case % 2 * 0.01), ("zero-shot", 0.5))
    ]


def test_a_clear_difference_in_words():
    (line,) = verdicts(summary_of(Rows(objects=many_cases(0.2))))
    assert line.startswith("box: tuned is better than zero-shot by .205 IoU [.20")
    assert line.endswith("24 of 24 objects better, 0 worse, 24 cases.")
    (line,) = verdicts(summary_of(Rows(objects=many_cases(-0.2))))
    assert line.startswith("box: tuned is worse than zero-shot by .195 IoU [-.19")


def test_no_clear_difference_in_words():
    (line,) = verdicts(summary_of(Rows(objects=many_cases(-0.005))))
    assert line.startswith("box: no clear difference between tuned and zero-shot: IoU +.000 [-.00")


def test_one_case_has_no_interval_in_words():
    found = summary_of(Rows(objects=many_cases(0.2, cases=1)))
    (line,) = verdicts(found)
    assert line == (
        "box: no clear difference between tuned and zero-shot: IoU +.200 (no interval); "
        "1 of 1 objects better, 0 worse, 1 case."
    )
    table, _, words = printed(found).partition("* interval without 0")
    assert "(no interval)" in table
    assert "(no interval)" in words


def test_nothing_in_common_in_words():
    rows = box_rows({"tuned": [0.5], "zero-shot": [NAN]})
    (line,) = verdicts(summary_of(Rows(objects=rows)))
    assert line == "box: tuned and zero-shot have no scored object in common."


def test_few_cases_are_warned_of():
    assert warnings(summary_of(Rows(objects=many_cases(0.2, cases=20)))) == []
    (line,) = warnings(summary_of(Rows(objects=many_cases(0.2, cases=19))))
    assert line == "Only 19 cases: intervals from fewer than 20 are too narrow."
    (line,) = warnings(summary_of(Rows(objects=many_cases(0.2, cases=1))))
    assert line.startswith("Only 1 case: ")
    assert line.endswith("with fewer than 6 nothing is called clear.")


def test_the_best_without_sam_is_named():
    rows = Rows(objects=box_rows({"tuned": [0.9], "ellipse": [0.7], "otsu": [0.8], "sam2": [1]}))
    found = summary_of(rows, "tuned", "sam2", "ellipse", "otsu", reference=None)
    baselines = [
        CompetitorRecord(name=each.name, kind="baseline", prompts=("box",), seconds=1)
        if each.name in ("ellipse", "otsu")
        else each
        for each in found.competitors
    ]
    object.__setattr__(found, "competitors", tuple(baselines))
    assert against_baselines(found) == ["box: without SAM, otsu reaches IoU .800; tuned .900."]


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (0.2, "tuned .705, better by .205 [+.20"),
        (-0.2, "tuned .305, worse by .195 [-.19"),
        (-0.005, "tuned .500, no clear difference [-.00"),
    ],
)
def test_a_unet_and_the_best_baseline_are_named_with_the_range_of_the_difference(gain, said):
    rows = Rows(
        objects=many_cases(gain)
        + [
            object_row(name, "box", f"case_{case:03d}", iou=iou)
            for case in range(24)
            for name, iou in (("unet", 0.5), ("otsu", 0.4), ("ellipse", 0.3))
        ]
    )
    found = summary_of(rows, "tuned", "zero-shot", "ellipse", "otsu", "unet")
    kinds = {"ellipse": "baseline", "otsu": "baseline", "unet": "unet"}
    competitors = tuple(
        replace(each, kind=kinds.get(each.name, "sam")) for each in found.competitors
    )
    found = replace(found, competitors=competitors)
    simple, unet = against_baselines(found)
    assert simple.startswith("box: without SAM, otsu reaches IoU .400; tuned ")
    assert unet.startswith(f"box: without SAM, unet reaches IoU .500; {said}")
    text = printed(found)
    assert "tuned minus other, IoU" in text


def test_numbers_as_tables_show_them():
    assert [written(value) for value in (0.9124, 1.0, 0.99996, -0.05, NAN, None, 0.0)] == [
        *(".912", "1.000", "1.000", "-.050", "-", "-", ".000")
    ]
    assert written(0.05, sign=True) == "+.050"
    assert written(0.517, score="hd95") == "0.52"


def test_main_prompts_are_the_boxes_and_the_ends_of_the_clicks():
    names = ["point10", "point1", "point2", "box", "loose_box"]
    assert main_prompts(names) == ["box", "loose_box", "point1", "point10"]
    assert main_prompts(["point1"]) == ["point1"]


def test_the_first_model_is_not_the_reference():
    rows = Rows(objects=box_rows({"tuned": [0.5], "zero-shot": [0.5]}))
    assert first_model(summary_of(rows, "zero-shot", "tuned")) == "tuned"
    assert first_model(summary_of(rows, "zero-shot")) == "zero-shot"


def test_tables_show_scores_differences_sizes_and_clicks():
    rows = Rows(objects=many_cases(0.2) + many_cases(-0.1, prompt="point1"))
    text = printed(summary_of(rows))
    assert "IoU / Dice of 24 objects in 24 cases, test split" in text
    assert ".705 / .705" in text
    assert "tuned minus zero-shot" in text
    assert "+.205 *" in text
    assert "-0.82 *" in text  # HD95 in px is 4 times that, and smaller is better
    assert "small (< 32²)" in text
    assert "large" not in text  # no object of that size
    assert "IoU after each click" not in text  # there is but one
    assert "IoU by class" not in text
    rows.objects += many_cases(0.0, prompt="point2")
    assert "IoU after each click" in printed(summary_of(rows))


def test_classes_without_prompts_and_other_models_have_tables():
    rows = Rows(
        objects=[
            object_row(model, "box", f"s{case}", number, iou=iou, class_name=name)
            for case in range(3)
            for model, iou in (("tuned", 0.9), ("zero-shot", 0.5), ("third", 0.7))
            for number, name in enumerate(("lung", "", "heart"), start=1)
        ],
        images=[image_row("tuned", "auto", "s0", f1=0.5, ap=0.25)],
    )
    text = printed(summary_of(rows, "tuned", "zero-shot", "third", classes=("lung", "heart")))
    for part in ("IoU by class", "lung", "no class", "tuned minus other, IoU", "Without prompts"):
        assert part in text
    assert ".250" in text


def test_what_all_models_did_not_answer_is_said():
    rows = Rows(objects=box_rows({"tuned": [0.2, 0.4, 0.9], "zero-shot": [0.1, 0.3]}))
    assert "objects that all models answered: box 2" in printed(summary_of(rows))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_eighty_columns_are_enough(count: int):
    names = [f"a_model_with_a_rather_long_name_{number}" for number in range(count)]
    rows = [
        object_row(name, prompt, f"s{case}", iou=0.5 + case / 10, hd95=123.456, area=10**case)
        for name in names
        for prompt in ("box", "loose_box", "point1", "point2", "point3")
        for case in range(3)
    ]
    text = printed(summary_of(Rows(objects=rows), *names, reference=names[-1]))
    assert max(map(len, text.splitlines())) <= 80
    assert "a_model_with" in text


def test_names_are_only_text():
    name, class_name = "[red]x[/red]\x1b[31m", "[link=file:///etc/passwd]c\x07"
    rows = [
        object_row(name, "box", "s", number, iou=0.5, class_name=text)
        for number, text in enumerate((class_name, "other"), start=1)
    ]
    text = printed(summary_of(Rows(objects=rows), name, reference=None), width=200)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]x[/red]?[31m" in text
    assert "[link=file:///etc" in text  # the name goes on in the next line
    assert "sswd]c?" in text


def test_nothing_to_show_is_no_table():
    found = summary_of(Rows(), reference=None)
    assert summary_tables(found) == []
    assert printed(found) == ""
    assert all(isinstance(each, SizeScores) for each in found.by_size["coco"])
