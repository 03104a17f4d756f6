import pytest
from evaluation_tables import NAN, box_rows, object_row

from samft.evaluation.gallery_choice import Choice, choose_objects, gallery_prompts


def chosen(rows: list, kind: str, *, count: int = 2, reference: str | None = "zero-shot") -> list:
    found = choose_objects(rows, first="tuned", reference=reference, count=count)
    return [(each.sample_id, each.object_id) for each in found if each.kind == kind]


def rows_of(tuned: list[float], before: list[float]) -> list:
    return box_rows({"tuned": tuned, "zero-shot": before})


def test_best_worst_improved_and_worsened():
    rows = rows_of([0.9, 0.1, 0.5, 0.7, 0.6], [0.9, 0.9, 0.1, 0.6, 0.65])
    assert chosen(rows, "best") == [("a", 1), ("d", 1)]
    assert chosen(rows, "worst") == [("b", 1), ("c", 1)]
    assert chosen(rows, "improved") == [("c", 1), ("d", 1)]  # +.4, +.1
    assert chosen(rows, "worsened") == [("b", 1), ("e", 1)]  # -.8, -.05


def test_all_is_said_about_a_choice():
    rows = rows_of([0.9], [0.4])
    found = choose_objects(rows, first="tuned", reference="zero-shot", count=3)
    expected = [
        Choice(
            kind=kind,
            rank=1,
            prompt="box",
            sample_id="a",
            object_id=1,
            class_name="",
            iou={"tuned": 0.9, "zero-shot": 0.4},
        )
        for kind in ("best", "improved")
    ]
    assert found == expected


def test_images_come_once_as_long_as_there_are_others():
    rows = [
        object_row(model, "box", sample, number, iou=iou if model == "tuned" else 0)
        for model in ("tuned", "zero-shot")
        for sample, ious in (("a", (0.9, 0.8, 0.7)), ("b", (0.6,)))
        for number, iou in enumerate(ious, start=1)
    ]
    assert chosen(rows, "improved", count=2) == [("a", 1), ("b", 1)]
    assert chosen(rows, "improved", count=3) == [("a", 1), ("a", 2), ("b", 1)]
    assert chosen(rows, "improved", count=9) == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]


@pytest.mark.parametrize("count", range(1, 8))
def test_best_and_worst_have_nothing_in_common(count: int):
    rows = rows_of([0.1 * number for number in range(count)], [0.5] * count)
    best, worst = (set(chosen(rows, kind, count=9)) for kind in ("best", "worst"))
    assert not best & worst
    assert len(best | worst) == count


def test_of_equal_answers_the_larger_object_comes_first():
    rows = [
        object_row(model, "box", sample, iou=0.0, area=area)
        for model in ("tuned", "zero-shot")
        for sample, area in (("a", 5), ("b", 50), ("c", 20), ("d", 1))
    ]
    assert chosen(rows, "best") == [("b", 1), ("c", 1)]
    assert chosen(rows, "worst") == [("a", 1), ("d", 1)]
    assert chosen(rows, "improved") == chosen(rows, "worsened") == []


def test_what_cannot_be_compared_or_seen_is_left_out():
    rows = rows_of([0.9, NAN, 0.8], [0.5, 0.5, NAN])
    rows += [object_row(model, "box", "z", iou=1, area=0) for model in ("tuned", "zero-shot")]
    assert chosen(rows, "best", count=9) + chosen(rows, "worst", count=9) == [("a", 1), ("c", 1)]
    assert chosen(rows, "improved") == [("a", 1)]


def test_without_reference_there_are_no_changes():
    rows = rows_of([0.9, 0.1], [0.5, 0.5])
    for reference in (None, "tuned", "other"):
        assert chosen(rows, "best", reference=reference) == [("a", 1)]
        assert chosen(rows, "improved", reference=reference) == []


def test_nothing_is_chosen_from_nothing():
    assert choose_objects([], first="tuned", reference=None, count=3) == []
    assert choose_objects(rows_of([0.9], [0.5]), first="tuned", reference=None, count=0) == []
    assert choose_objects(rows_of([0.9], [0.5]), first="x", reference=None, count=1) == []


def test_prompts():
    assert gallery_prompts(["box", "loose_box", "point1", "point2"]) == ["box", "point1"]
    assert gallery_prompts(["loose_box", "point9"]) == ["loose_box"]
    assert gallery_prompts([]) == []
