import numpy as np
import pytest
from evaluation_tables import NAN, box_rows, object_row

from samft.evaluation.columns import ScoreTable
from samft.evaluation.grouping import (
    SizeBin,
    bin_members,
    coco_bins,
    common_items,
    group_means,
    ordered_classes,
    quartile_bins,
)


def spans(areas: list[int]) -> list[tuple[int, int | None]]:
    return [(each.low, each.high) for each in quartile_bins(np.array(areas, np.int64))]


def test_a_comparison_is_about_what_all_models_answered():
    rows = box_rows({"tuned": [0.5, 0.6, 0.7], "zero-shot": [0.5, 0.6], "late": [NAN, 0.1, 0.1]})
    rows += [object_row("tuned", "point1", "c", iou=0.9)]
    table = ScoreTable.of_objects(rows)
    assert common_items(table, "box").tolist() == [0, 1]
    assert common_items(table, "point1").tolist() == [2]  # others take no points
    assert common_items(table, "loose_box").tolist() == []


def test_coco_sizes():
    bins = coco_bins()
    areas = np.array([1, 1023, 1024, 9215, 9216, 10**7])
    assert bin_members(areas, bins).tolist() == [0, 0, 1, 1, 2, 2]
    assert [(each.low, each.high) for each in bins] == [(0, 1024), (1024, 9216), (9216, None)]
    assert [each.label for each in bins] == ["small (< 32²)", "medium (< 96²)", "large (≥ 96²)"]


def test_quartiles_of_different_areas_are_quarters():
    assert spans([8, 7, 6, 5, 4, 3, 2, 1]) == [(1, 3), (3, 5), (5, 7), (7, 9)]
    assert spans([1, 2, 3, 4]) == [(1, 2), (2, 3), (3, 4), (4, 5)]


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        ([], []),
        ([7], [(7, 8)]),
        ([7, 7, 7, 7], [(7, 8)]),
        ([7, 9], [(7, 9), (9, 10)]),
        ([1, 9, 9, 9, 9, 9], [(1, 9), (9, 10)]),
        ([1, 1, 1, 1, 1, 9], [(1, 9), (9, 10)]),
        # 6 of 12 are alike: the first two quartiles meet behind them.
        ([2] * 6 + [3, 4, 5, 6, 7, 8], [(2, 3), (3, 6), (6, 9)]),
    ],
)
def test_equal_areas_are_never_torn_apart(areas: list[int], expected: list[tuple[int, int]]):
    assert spans(areas) == expected
    bins = quartile_bins(np.array(areas, np.int64))
    member = bin_members(np.array(areas, np.int64), bins)
    for area, index in zip(areas, member, strict=True):
        assert bins[index].low <= area < bins[index].high


def test_labels_name_the_first_and_last_area():
    labels = [each.label for each in quartile_bins(np.array([5, 5, 8, 9, 12, 30, 40, 70]))]
    assert labels == ["5 to 7", "8 to 11", "12 to 39", "40 to 70"]
    assert quartile_bins(np.array([5, 5]))[0] == SizeBin(label="5", low=5, high=6)


def test_classes_follow_the_data_and_those_without_come_last():
    def classes(*names: str) -> list[str]:
        rows = [
            object_row("m", "box", "a", number, iou=0.5, class_name=name)
            for number, name in enumerate(names, start=1)
        ]
        return ordered_classes(ScoreTable.of_objects(rows), ["liver", "aorta", "lung"])

    assert classes("", "aorta", "zebra", "liver") == ["liver", "aorta", "zebra", ""]
    assert classes("", "") == classes() == []


def test_means_leave_out_what_is_no_number():
    values = np.array([[1.0, NAN], [3.0, 8.0], [5.0, NAN], [9.0, np.inf]])
    means, left_out = group_means(values, np.array([0, 0, 2, -1]), 3)
    np.testing.assert_array_equal(means, [[2.0, 8.0], [NAN, NAN], [5.0, NAN]])
    assert left_out.tolist() == [[0, 1], [0, 0], [0, 1]]
