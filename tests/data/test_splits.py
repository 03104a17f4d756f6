"""Splits: by case, reproducible, never empty where asked for, and blocks with gaps."""

import dataclasses
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from samft.data.record_store import RecordStore
from samft.data.records import SPLITS, Record
from samft.data.splits import (
    assign_splits,
    block_splits,
    group_by_split,
    limit_records,
    split_of_folder,
    with_folder_splits,
)
from samft.errors import ConfigError, DatasetError


def records(cases: int, slices: int = 1, split=None) -> list[Record]:
    return [
        Record(sample_id=f"case{c}/z{z}", case_id=f"case{c}", images=(), labels=(), split=split)
        for c in range(cases)
        for z in range(slices)
    ]


def split(found: list[Record], val: float = 0.2, test: float = 0.0, seed: int = 0):
    return assign_splits(found, val_fraction=val, test_fraction=test, seed=seed)


@settings(deadline=None, max_examples=40)
@given(
    cases=st.integers(3, 40),
    slices=st.integers(1, 4),
    val=st.floats(0.01, 0.45),
    test=st.floats(0, 0.45),
    seed=st.integers(0, 5),
)
def test_cases_stay_whole_and_nothing_is_lost(cases, slices, val, test, seed) -> None:
    found = records(cases, slices)
    try:
        parts = split(found, val, test, seed)
    except DatasetError as error:
        # Each of the two takes its share, rounded, and at least one case.
        taken = max(1, round(val * cases)) + (max(1, round(test * cases)) if test else 0)
        assert taken >= cases, error
        return
    assert sorted(r.sample_id for s in SPLITS for r in parts[s]) == sorted(
        r.sample_id for r in found
    )
    owners = [{r.case_id for r in parts[s]} for s in SPLITS]
    assert not (owners[0] & owners[1] or owners[0] & owners[2] or owners[1] & owners[2])
    assert len(owners[1]) == max(1, round(val * cases))
    assert len(owners[2]) == (max(1, round(test * cases)) if test > 0 else 0)
    assert owners[0]
    assert parts == split(found, val, test, seed)


def test_the_seed_decides_and_new_cases_move_few() -> None:
    first, other = split(records(50)), split(records(50), seed=1)
    assert first["val"] != other["val"]
    before = {r.case_id for r in first["val"]}
    after = {r.case_id for r in split(records(52))["val"]}
    assert len(before & after) >= len(before) - 2


def test_order_of_the_index_is_kept() -> None:
    for part in split(records(20, 3), 0.3, 0.2).values():
        numbers = [records(20, 3).index(r) for r in part]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("cases", "val", "test", "needed"), [(1, 0.2, 0, 2), (2, 0.2, 0.2, 3), (0, 0.2, 0, 2)]
)
def test_too_few_cases(cases: int, val: float, test: float, needed: int) -> None:
    with pytest.raises(DatasetError) as caught:
        split(records(cases), val, test)
    text = str(caught.value)
    assert text.startswith("too few cases to split")
    assert f"from {cases} case" in text
    assert f"at least {needed}" in text
    assert "data.split_by: block" in text
    assert len(text.splitlines()) <= 4


def test_no_split_wanted() -> None:
    assert [len(part) for part in split(records(3), 0, 0).values()] == [3, 0, 0]


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0), (1.0, 0), (0.5, 0.5), (0, 1.5)])
def test_fractions_out_of_range(val: float, test: float) -> None:
    with pytest.raises(ConfigError, match="_fraction"):
        split(records(5), val, test)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train/images/a.png", "train"),
        ("images/Training/a.png", "train"),
        ("x/valid/a.png", "val"),
        ("validation/a.png", "val"),
        ("a/b/test/c.png", "test"),
        ("stage1_train/a.png", None),
        ("trainer/a.png", None),
        ("test.png", None),
    ],
)
def test_folders_that_name_a_split(name: str, expected: str | None) -> None:
    assert split_of_folder(name) == expected


def in_folders(*names: str) -> list[Record]:
    root = Path("/data")
    found = [Record(sample_id=n, case_id=n, images=(root / n,), labels=()) for n in names]
    return with_folder_splits(found, root)


def test_predefined_splits_are_kept() -> None:
    found = in_folders("train/a.png", "train/b.png", "val/c.png", "test/d.png")
    parts = split(found, 0.5, 0.0)
    assert [[r.sample_id for r in parts[s]] for s in SPLITS] == [
        ["train/a.png", "train/b.png"],
        ["val/c.png"],
        ["test/d.png"],
    ]


def test_missing_validation_is_taken_from_training() -> None:
    found = in_folders("train/a.png", "train/b.png", "train/c.png", "test/d.png")
    parts = split(found, 0.3, 0.5)
    assert [len(parts[s]) for s in SPLITS] == [2, 1, 1]
    assert parts["test"][0].sample_id == "test/d.png"


def test_a_lonely_test_folder_is_just_a_folder() -> None:
    parts = split(in_folders(*[f"test/{i}.png" for i in range(5)]))
    assert [len(parts[s]) for s in SPLITS] == [4, 1, 0]


def test_some_inside_and_some_outside() -> None:
    with pytest.raises(DatasetError) as caught:
        split(in_folders("train/a.png", "val/b.png", "extra/c.png"))
    text = str(caught.value)
    assert "some images lie in a folder of a split and some do not" in text
    assert "extra/c.png" in text
    assert "1 of 3" in text
    assert "data.split_folders: false" in text


def test_a_patient_in_two_splits_is_a_leak() -> None:
    found = in_folders("train/a.png", "val/b.png")
    found = [dataclasses.replace(r, case_id="patient7") for r in found]
    with pytest.raises(DatasetError, match="one case lies in two splits") as caught:
        split(found)
    assert "'patient7' in train and val" in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(1, 200),
    val=st.floats(0, 0.4),
    test=st.floats(0, 0.4),
    gap=st.integers(0, 4),
)
def test_slabs_are_contiguous_with_gaps_between(count, val, test, gap) -> None:
    try:
        found = block_splits(count, val_fraction=val, test_fraction=test, gap=gap)
    except DatasetError as error:
        assert "too few slices" in str(error)
        assert count < 60
        return
    assert len(found) == count
    assert "train" in found
    assert ("val" in found) == (val > 0)
    assert ("test" in found) == (test > 0)
    for name in ("val", "test"):
        places = [i for i, s in enumerate(found) if s == name]
        assert places == list(range(min(places, default=0), max(places, default=-1) + 1))
        others = [i for i, s in enumerate(found) if s not in (name, None)]
        assert all(abs(i - j) > gap for i in places for j in others)


def test_too_few_slices() -> None:
    with pytest.raises(DatasetError) as caught:
        block_splits(5, val_fraction=0.2, test_fraction=0.0)
    assert "5 slices, expected: at least 6" in str(caught.value)


def test_grouping_keeps_what_is_there() -> None:
    found = records(1, 3, split="train") + records(1, 1, split="val")
    assert [len(p) for p in group_by_split(found).values()] == [3, 1, 0]


def test_limit_is_the_same_every_time_and_by_seed() -> None:
    found = records(50)
    few = limit_records(found, 7, seed=0)
    assert few == limit_records(found, 7, seed=0)
    assert few != limit_records(found, 7, seed=1)
    assert [found.index(r) for r in few] == sorted(found.index(r) for r in few)
    assert limit_records(found, None, seed=0) == found
    assert limit_records(found[:3], 7, seed=0) == found[:3]


@pytest.mark.parametrize("kind", [list, RecordStore.build])
def test_what_the_layout_says_about_splits_comes_first(kind, tmp_path: Path) -> None:
    names = ("train/a.png", "train/b.png", "c.png")
    said = (None, "val", "test")
    records = kind(
        Record(sample_id=n, case_id=n, images=(tmp_path / n,), labels=(), split=split)
        for n, split in zip(names, said, strict=True)
    )
    found = with_folder_splits(records, tmp_path)
    assert [record.split for record in found] == ["train", "val", "test"]
