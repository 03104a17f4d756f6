"""What a report says: its numbers against the input, its verdict, and what it can do without."""

import csv
import json
import math
import pickle
import re
from collections import defaultdict

import pytest

from benchmarks.report import DrawnTest, make_results, make_run
from samft.evaluation.facts import CompetitorRecord, DataFacts
from samft.evaluation.report import comparisons, quality, wording
from samft.evaluation.report.building import build_report
from samft.evaluation.rows import ImageRow, ObjectRow, Rows
from samft.evaluation.settings import EvaluationSettings
from samft.evaluation.writing import write_results

SMALL = DrawnTest(images=6, objects=4, clicks=2, pictures=0)


def table_of(markdown: str, caption: str) -> list[list[str]]:
    """Return the cells of a table of the Markdown report, its head first."""
    lines = markdown.partition(f"**{caption}**\n\n")[2].splitlines()
    rows = [line for line in lines[: lines.index("")] if not line.startswith("| ---")]
    return [[cell.strip(" *") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def markdown_of(folder, **options) -> str:
    build_report(folder, **options)
    return ((options.get("out") or folder) / "report.md").read_text(encoding="utf-8")


def edited(results, **changes):
    path = results / "metrics.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")
    return content


@pytest.fixture(scope="module", autouse=True)
def charts_drawn_once():
    """Keep what was drawn: nearly all of these reports show the same charts, a second together."""

    def remembered(draw):
        kept = {}

        def chart(*given, **options):
            key = pickle.dumps((given, options))
            if key not in kept:
                kept[key] = draw(*given, **options)
            return kept[key]

        return chart

    with pytest.MonkeyPatch.context() as patch:
        for module in (comparisons, quality):
            for name in ("line_chart", "bar_chart", "interval_chart"):
                if hasattr(module, name):
                    patch.setattr(module, name, remembered(getattr(module, name)))
        yield


@pytest.fixture
def results(tmp_path):
    return make_results(tmp_path / "results", SMALL)


def test_the_main_table_holds_the_scores_and_differences_of_the_test(results):
    content = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    head, *rows = table_of(markdown_of(results), "Mean IoU by prompt")
    assert head == [
        *("Prompt", "tuned", "zero-shot", "Change", "95 % interval", "Reading", "Better / worse"),
        *("filled\\_box", "otsu", "unet", "Objects"),
    ]
    assert [row[0] for row in rows] == ["box", "loose box", "1 click", "2 clicks"]
    for row, prompt in zip(rows, ("box", "loose_box", "point1", "point2"), strict=True):
        scores = content["scores"][prompt]
        assert row[10] == "24"
        assert row[1] == f"{scores['tuned']['iou']:.3f}"
        assert row[2] == f"{scores['zero-shot']['iou']:.3f}"
        (entry,) = [
            e for e in content["differences"] if (e["prompt"], e["model"]) == (prompt, "tuned")
        ]
        assert row[3] == f"{entry['mean']:+.3f}"
        assert row[4] == f"{entry['low']:+.3f} to {entry['high']:+.3f}"
        assert row[5] == "better"
        assert row[6] == f"{entry['better']} / {entry['worse']}"
    assert rows[2][7] == wording.MISSING


def test_the_table_of_images_is_the_mean_of_the_file_worst_first(results):
    _, *rows = table_of(
        markdown_of(results, keep_names=True), "Dice of whole images, the worst tuned first"
    )
    sums = defaultdict(list)
    with (results / "images.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["dice"]:
                sums[row["sample_id"], row["prompt"], row["model"]].append(float(row["dice"]))
    means = {key: math.fsum(values) / len(values) for key, values in sums.items()}
    expected = sorted(
        (means[name, "box", "tuned"], name)
        for name, prompt, model in means
        if (prompt, model) == ("box", "tuned")
    )
    assert [row[0].replace("\\", "") for row in rows] == [name for _, name in expected]
    for row, (value, name) in zip(rows, expected, strict=True):
        before = means[name, "box", "zero-shot"]
        assert row[2] == f"{value:.3f}"
        assert row[3] == wording.signed(value - before)
        assert row[4] == f"{before:.3f}"
        assert row[-1] == f"{means[name, 'box', 'unet']:.3f}"


def test_objects_stand_in_where_there_is_no_table_of_images(results):
    (results / "images.csv").unlink()
    content = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    _, *rows = table_of(markdown_of(results), "Mean IoU of objects, the worst tuned first")
    mean = sum(float(row[2]) for row in rows) / len(rows)
    assert mean == pytest.approx(content["scores"]["box"]["tuned"]["iou"], abs=1e-3)
    assert [row[1] for row in rows] == ["4"] * 6


def test_only_the_worst_images_are_shown_of_very_many(results, monkeypatch):
    monkeypatch.setattr("samft.evaluation.report.case_table.MOST_ROWS", 2)
    text = markdown_of(results)
    assert "The worst 2 of 6 images are shown; all of them are in results/images.csv." in text
    assert len(table_of(text, "Dice of whole images, the worst tuned first")) == 3


def test_sizes_that_no_object_has_are_left_out(results):
    content = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    bins = content["by_size"]["coco"]
    assert table_of(markdown_of(results), "Mean IoU by size: the size classes of COCO")
    bins[-1] |= {"label": "gigantic", "num_objects": 0, "scores": {}}
    edited(results, **content)
    assert "gigantic" not in markdown_of(results)


def test_a_unet_that_had_no_time_or_was_interrupted_is_warned_of(results):
    content = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    unet = next(model for model in content["models"] if model["kind"] == "unet")
    unet["steps"] = 15
    edited(results, **content)
    assert f"> The {wording.U_NET} made only 15 steps" in markdown_of(results)
    unet |= {"steps": 1500, "finished": False}
    edited(results, **content)
    assert "was interrupted after 1 500 steps." in markdown_of(results)
    unet["finished"] = True
    edited(results, **content)
    text = markdown_of(results)
    assert "interrupted" not in text
    assert "made only" not in text


def difference(**changes):
    names = {"prompt": "box", "score": "iou", "model": "tuned", "reference": "zero-shot"}
    ends = {"mean": 0.1, "low": 0.05, "high": 0.15, "level": 0.95, "clear": True}
    counts = {"better": 9, "worse": 1, "equal": 0, "left_out": 0, "num_groups": 50}
    return names | ends | counts | changes


def test_the_verdict_says_what_became_better_worse_and_neither(results):
    edited(
        results,
        differences=[
            difference(),
            difference(prompt="loose_box", mean=-0.1, low=-0.2, high=-0.05),
            difference(prompt="point1", mean=0.01, low=-0.02, high=0.04, clear=False),
        ],
    )
    text = markdown_of(results)
    assert (
        "**After training: better with a box; worse with a loose box; "
        "no clear change with one click.**" in text
    )
    assert "> Training made answers to a loose box worse. Use the untuned model for these." in text
    _, *rows = table_of(text, "Mean IoU by prompt")
    assert [row[5] for row in rows] == ["better", "worse", "not clear", "not compared"]


def test_a_difference_given_the_other_way_round_is_turned(results):
    turned = {"model": "zero-shot", "reference": "tuned", "mean": -0.1, "low": -0.15}
    edited(results, differences=[difference(**turned, high=-0.05, better=1, worse=9)])
    _, row, *_ = table_of(markdown_of(results), "Mean IoU by prompt")
    assert row[3:7] == ["+0.100", "+0.050 to +0.150", "better", "9 / 1"]


def test_few_cases_a_missing_test_split_and_empty_answers_are_warned_of(results):
    edited(results, split="val", empty={"box": {"tuned": {"num_missed": 1}}})
    text = markdown_of(results)
    assert "> Only 6 cases. Intervals from fewer than 20 are too narrow" in text
    assert "> There is no test split: these are the images that chose the checkpoint" in text
    assert "> With a box, 1 object was answered with nothing." in text


def test_it_is_said_whether_a_sam_is_worth_it(results):
    content = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    unet = difference(reference="unet", mean=0.05, low=0.02, high=0.08)
    same = difference(prompt="point1", reference="unet", mean=0.01, low=-0.01, high=0.03)
    simple = difference(reference="filled_box", mean=0.2, low=0.1, high=0.3)
    content["differences"] += [unet, same | {"clear": False}, simple]
    edited(results, **content)
    text = markdown_of(results)
    assert "0.050 less (the difference is +0.020 to +0.080) than the tuned model" in text
    assert (
        "not clearly different from the tuned model (the difference is "
        "\N{MINUS SIGN}0.010 to +0.030)" in text
    )
    assert "0.200 less (the difference is +0.100 to +0.300) than the tuned model." in text
    assert "A SAM is worth it here where a box" in text
    few = unet | {"num_groups": 5, "clear": False}
    edited(results, differences=[*content["differences"][:-3], few])
    assert "| too few cases |" in markdown_of(results)
    rows = table_of(text, "tuned minus each of the others, IoU")[1:]
    assert [row[:2] for row in rows] == [
        *(["box", "filled\\_box"], ["box", "unet"], ["1 click", "unet"])
    ]


def test_without_a_range_a_gap_of_a_hundredth_counts(results):
    content = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    assert "a SAM is not worth it" not in markdown_of(results)
    content["scores"]["box"]["filled_box"]["iou"] = 0.99
    for prompt in content["scores"]:
        content["scores"][prompt]["unet"]["iou"] = 0.99
    edited(results, **content)
    text = markdown_of(results)
    assert "the best simple baseline (filled\\_box) reaches 0.990" in text
    assert "a SAM is not worth it for this prompt" in text
    assert "a SAM is worth it where single objects are picked or corrected by hand" in text


def test_a_single_model_is_reported_without_a_comparison(tmp_path):
    test = DrawnTest(images=3, objects=3, clicks=1, pictures=1, edge=60, models={"tuned": 0.8})
    text = markdown_of(make_results(tmp_path / "r", test))
    assert "**No comparison with the untuned model.**" in text
    assert "> The untuned model was not tested, so it is not known whether training helped." in text
    assert table_of(text, "Mean IoU by prompt")[0] == ["Prompt", "tuned", "Objects"]


def test_results_without_any_score_still_make_a_report(results):
    empty = {
        name: {}
        for name in ("scores", "by_class", "by_size", "clicks", "images", "instances", "empty")
    }
    edited(results, **empty, calibration=None, differences=[], gallery=[], reference=None)
    text = markdown_of(results)
    assert "## How to reproduce" in text
    assert "## Scores by prompt" not in text


def test_missing_numbers_are_dashes_and_no_chart_fails(results):
    content = json.loads((results / "metrics.json").read_text(encoding="utf-8"))

    def blank(value):
        if isinstance(value, dict):
            return {name: blank(item) for name, item in value.items()}
        if isinstance(value, list):
            return [blank(item) for item in value]
        return None if isinstance(value, int | float) and not isinstance(value, bool) else value

    for name in ("scores", "by_size", "clicks", "images", "calibration", "differences", "data"):
        content[name] = blank(content[name])
    edited(results, **content)
    _, row, *_ = table_of(markdown_of(results), "Mean IoU by prompt")
    assert set(row[1:4] + row[7:]) == {wording.MISSING}
    assert row[4] == "no interval"
    page = (results / "report.html").read_text(encoding="utf-8")
    assert ">nan<" not in page


def test_a_run_without_a_test_shows_its_training_and_the_command_for_more(tmp_path):
    run = make_run(tmp_path / "runs" / "ct" / "0", epochs=4)
    text = markdown_of(run)
    assert "**Validation scores only, no test yet.**" in text
    assert "This adds them: samft test runs/ct/0" in text
    rows = table_of(text, "Validation scores by epoch")
    assert rows[1][:3] == ["before", "0.600", "0.700"]
    assert [row[0] for row in rows[2:]] == ["1", "3"]
    content = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert content["format"] == "samft-training"
    assert content["training"]["losses"][1] == {"epoch": 1, "loss": 0.5}
    assert content["training"]["zero_shot"]["iou_box"] == 0.7


def test_the_checkpoint_stands_in_for_a_missing_table(tmp_path):
    run = make_run(tmp_path / "run", epochs=4)
    with_table = table_of(markdown_of(run), "Validation scores by epoch")
    (run / "metrics.csv").unlink()
    text = markdown_of(run)
    without = table_of(text, "Validation scores by epoch")
    assert [row[:4] for row in without] == [row[:4] for row in with_table]
    assert table_of(text, "Loss by epoch")[1:] == [
        [str(epoch), f"{1 / (epoch + 1):.4f}"] for epoch in range(4)
    ]


def test_a_lone_checkpoint_and_a_run_without_configuration_do(tmp_path):
    run = make_run(tmp_path / "run", epochs=2)
    (run / "config.fit.yaml").unlink()
    (run / "metrics.csv").unlink()
    assert "## Configuration" not in markdown_of(run)
    lone = tmp_path / "lone.ckpt"
    (run / "checkpoints" / "best.ckpt").rename(lone)
    build_report(lone, out=tmp_path / "out")
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_copy_of_the_metrics_keeps_the_scores_and_adds_the_training(tmp_path):
    run = make_run(tmp_path / "runs" / "a" / "0", epochs=4)
    make_results(run / "test", SMALL)
    original = json.loads((run / "test" / "metrics.json").read_text(encoding="utf-8"))
    build_report(run)
    copy = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for name in ("scores", "by_class", "by_size", "images", "instances", "differences", "format"):
        assert copy[name] == original[name], name
    assert [entry["epoch"] for entry in copy["training"]["validation"]] == [1, 3]


def test_results_on_their_own_are_not_overwritten(results):
    before = (results / "metrics.json").read_bytes()
    build_report(results)
    assert (results / "metrics.json").read_bytes() == before


def test_the_folder_of_results_in_a_run_stands_for_the_run(tmp_path):
    run = make_run(tmp_path / "runs" / "a" / "0", epochs=2)
    build_report(make_results(run / "other", SMALL))
    assert "## Training" in (run / "report.md").read_text(encoding="utf-8")
    assert not (run / "other" / "report.md").exists()


def test_commands_repeat_the_settings_that_are_not_the_default(tmp_path):
    run = make_run(tmp_path / "runs" / "a" / "0", epochs=2)
    results = make_results(run / "test", SMALL)
    settings = EvaluationSettings(clicks=2, prompts=("box",), out="x").to_dict()
    edited(results, settings=settings)
    line = "samft test runs/a/0 --evaluation.prompts '[\"box\"]' --evaluation.clicks 2\n"
    assert line in markdown_of(run)


def test_a_report_of_what_samft_test_really_writes(tmp_path):
    """The rows of two models on three images, through the writer of `samft test`."""
    rows = Rows()
    for model, iou in (("tuned", 0.9), ("zero-shot", 0.5)):
        for case in ("=a.png", "b.png", "c.png"):
            common = {"model": model, "prompt": "box", "sample_id": case, "case_id": case}
            scores = {"iou": iou, "dice": 2 * iou / (1 + iou), "hd95": math.nan}
            kind = {"class_name": "cell", "unit": "mm"}
            rows.objects.append(
                ObjectRow(**common, **kind, object_id=1, area=50, scores=scores, predicted_iou=0.8)
            )
            rows.images.append(ImageRow(**common, **kind, num_objects=1, scores=scores))
    write_results(
        rows,
        folder=tmp_path,
        competitors=[
            CompetitorRecord(name=name, kind="sam", prompts=("box",), seconds=1.0)
            for name in ("tuned", "zero-shot")
        ],
        settings=EvaluationSettings(samples=100),
        data=DataFacts(
            root="/data/cells", split="test", images=3, cases=3, classes=("cell",), sha256="ab"
        ),
        reference="zero-shot",
        device="cpu",
    )
    text = markdown_of(tmp_path, keep_names=True)
    row = table_of(text, "Mean IoU by prompt")[1]
    assert row[:4] == ["box", "0.900", "0.500", "+0.400"]
    assert row[5:] == ["too few cases", "3 / 0", "3"]
    assert "**Too few cases to say whether training helped.**" in text
    images = table_of(text, "Dice of whole images, the worst tuned first")[1:]
    assert [row[0] for row in images] == ["=a.png", "b.png", "c.png"]
    assert images[0][2:5] == ["0.947", "+0.281", "0.667"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0004, "0.000"), (-0.0004, "0.000"), (0.1, "+0.100"), (-0.1, f"{wording.MINUS}0.100")],
)
def test_differences_have_a_sign_unless_they_are_nothing(value, shown):
    assert wording.signed(value) == shown


def test_counts_have_gaps_between_thousands():
    assert wording.count(1234567.0) == "1\u202f234\u202f567"
