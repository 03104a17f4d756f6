import logging

import numpy as np
import pytest
from evaluation_tables import NAN, box_rows, image_row, object_row

from samft.evaluation.columns import ScoreTable, prompt_rank


def test_rows_in_any_order_give_the_same_table():
    rows = box_rows({"tuned": [0.5, 0.7, 0.9], "zero-shot": [0.1, 0.2, 0.3]})
    for order in (rows, rows[::-1]):
        table = ScoreTable.of_objects(order)
        assert table.keys == (("a", 1), ("b", 1), ("c", 1))
        assert table.case_names == ("a", "b", "c")
        assert table.answers["box", "tuned"].scores[:, 0].tolist() == [0.5, 0.7, 0.9]
        assert table.answers["box", "zero-shot"].scores[:, 0].tolist() == [0.1, 0.2, 0.3]


def test_models_may_answer_different_objects():
    rows = box_rows({"tuned": [0.5, 0.7], "zero-shot": [0.1]})
    table = ScoreTable.of_objects(rows)
    assert table.answers["box", "tuned"].items.tolist() == [0, 1]
    assert table.answers["box", "zero-shot"].items.tolist() == [0]
    assert table.models("box", ["zero-shot"]) == ["zero-shot", "tuned"]


def test_scores_stand_in_the_order_of_tables_and_missing_ones_are_nan():
    rows = [
        object_row("m", "box", "a", iou=0.5, hd95=3.0, dice=0.6),
        object_row("m", "box", "b", iou=0.7, zeta=1.0),
    ]
    table = ScoreTable.of_objects(rows)
    assert table.score_names == ("iou", "dice", "hd95", "zeta")
    expected = [[0.5, 0.6, 3.0, NAN], [0.7, NAN, NAN, 1.0]]
    np.testing.assert_array_equal(table.answers["box", "m"].scores, expected)


def test_what_was_scored_twice_counts_once(caplog: pytest.LogCaptureFixture):
    rows = box_rows({"tuned": [0.5, NAN]})
    with caplog.at_level(logging.WARNING):
        assert len(ScoreTable.of_objects(rows + rows).answers["box", "tuned"].items) == 2
    assert not caplog.messages
    other = object_row("tuned", "box", "a", iou=0.25)
    with caplog.at_level(logging.WARNING):
        table = ScoreTable.of_objects([*rows, other])
    assert table.answers["box", "tuned"].scores[0, 0] == 0.5
    assert "1 answers were scored twice with different results" in caplog.text


def test_no_rows_are_a_table_without_anything():
    table = ScoreTable.of_objects([])
    assert table.keys == table.prompts() == table.score_names == table.units == ()


def test_images_have_a_key_per_class():
    rows = [image_row("m", "box", "a", class_name=name, dice=0.5) for name in ("liver", "")]
    table = ScoreTable.of_images(rows)
    assert table.keys == (("a", ""), ("a", "liver"))
    assert table.class_names == ("", "liver")


def test_prompts_are_ordered_by_kind_and_number():
    names = ["auto", "point10", "text", "point2", "loose_box", "box"]
    expected = ["box", "loose_box", "point2", "point10", "text", "auto"]
    assert sorted(names, key=prompt_rank) == expected


def test_scores_can_be_left_out():
    table = ScoreTable.of_objects([object_row("m", "box", "a", iou=0.5, hd95=3.0)])
    rest = table.without(("hd95",))
    assert rest.column("hd95") is None
    assert rest.answers["box", "m"].scores.tolist() == [[0.5]]
