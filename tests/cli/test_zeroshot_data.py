"""Which images a zero-shot experiment uses, and what a table of its cases may hold."""

from __future__ import annotations

import csv
import json
import math

import pytest

from samft.cli.data_opening import data_sections, open_module
from samft.cli.zeroshot.data import (
    OpenData,
    choose_images,
    choose_splits,
    unique_names,
)
from samft.cli.zeroshot.results import Results, write_results
from samft.data.synthetic import SyntheticDataModule
from samft.errors import DatasetError
from samft.evaluation.zero_shot.outcome import Outcome


def track(items, what, total):
    del what, total
    return items


def drawn(number: int = 12, **splits: int) -> OpenData:
    """Return drawn images, each with its own number of objects."""
    module = SyntheticDataModule(num_train=number, num_val=0, num_test=0, size=64, **splits)
    keys = [("train", index) for index in range(number)]
    return OpenData(name="a", root="a", module=module, splits=("train",), keys=keys)


def test_images_are_drawn_by_the_seed():
    chosen = []
    for seed in (0, 0, 1):
        data = drawn()
        choose_images(data, max_images=4, max_masks=0, seed=seed, track=track)
        chosen.append(data.keys)
        assert data.keys == sorted(data.keys)
        assert data.notes == [f"4 of 12 images, drawn with seed {seed}"]
    assert chosen[0] == chosen[1] != chosen[2]
    data = drawn()
    choose_images(data, max_images=12, max_masks=0, seed=0, track=track)
    assert len(data) == 12
    assert data.notes == []


def test_large_sets_are_cut_down_by_whole_images():
    data = drawn()
    counts = [data[index].num_objects for index in range(12)]
    assert sum(counts) > 12
    many = drawn()
    choose_images(many, max_images=0, max_masks=sum(counts) // 2, seed=3, track=track)
    kept = [counts[index] for _, index in many.keys]
    assert sum(kept) >= sum(counts) // 2
    assert sum(kept) - max(kept) < sum(counts) // 2
    assert "more than" in many.notes[0]
    few = drawn()
    choose_images(few, max_images=0, max_masks=math.ceil(sum(counts) / 1.5), seed=3, track=track)
    assert len(few) == 12  # not 1.5 times as many as wanted
    assert few.notes == []


def test_test_images_come_first():
    data = SyntheticDataModule(num_train=3, num_val=2, num_test=1, size=64)
    assert choose_splits(data, None) == ("test",)
    assert choose_splits(data, "all") == ("train", "val", "test")
    data = SyntheticDataModule(num_train=3, num_val=2, num_test=0, size=64)
    assert choose_splits(data, None) == ("val",)
    with pytest.raises(DatasetError, match=r"no test split\n.*train 3, val 2, test 0"):
        choose_splits(data, "test")


def test_a_split_that_was_only_drawn_is_no_reason_to_leave_images_out(dsb_folder):
    ((section, root),) = data_sections([], [str(dsb_folder)])
    plain = open_module(section, root)
    assert choose_splits(plain, None) == ("train",)
    divided = open_module(section, root, ["--data.val_fraction=0.5"])
    assert choose_splits(divided, None) == ("train", "val")
    assert choose_splits(divided, None, own=True) == ("val",)
    assert choose_splits(divided, "val") == ("val",)


def test_a_configuration_goes_with_any_number_of_folders(dsb_folder):
    sections = data_sections(["configs/data/dsb2018.yaml"], ["a", "b"])
    assert [root for _, root in sections] == ["a", "b"]
    assert sections[0][0] == sections[1][0]
    module = open_module(sections[0][0], str(dsb_folder), ["--data.min_area=3"])
    assert type(module).__name__ == "MicroscopyDataModule"
    assert module.min_area == 3
    assert list(module.class_names) == ["nucleus"]


def test_samples_come_from_other_processes_as_from_this_one(dsb_folder):
    ((section, root),) = data_sections([], [str(dsb_folder)])
    ids = []
    for workers in (0, 1):
        module = open_module(section, root, [f"--data.num_workers={workers}"])
        keys = [("train", index) for index in range(2)]
        data = OpenData(name="a", root="a", module=module, splits=("train",), keys=keys)
        ids.append([sample.sample_id for sample in data.samples()])
        assert ids[-1] == data.sample_ids()
    assert ids[0] == ids[1]


def test_names_tell_apart():
    assert unique_names(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-2", "a-2-2", "a-3"]


def test_what_is_written(tmp_path):
    rows = (
        {"sample_id": "=1+1.png", "iou": 0.5},
        {"sample_id": "x,y.png", "iou": math.nan},
        {"sample_id": "Zähne.png", "iou": -0.25},
    )
    outcome = Outcome(scores={"iou": math.nan, "n": 3}, rows=rows)
    results = Results(protocol="point", settings={"clicks": 1}, device="cpu")
    results.outcomes = {"a": {"m": outcome}}
    write_results(results, tmp_path)
    with (tmp_path / "cases.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert [row["sample_id"] for row in found] == ["'=1+1.png", "x,y.png", "Zähne.png"]
    assert [row["iou"] for row in found] == ["0.5", "", "-0.25"]
    document = json.loads((tmp_path / "metrics.json").read_text())
    assert document["scores"] == {"a": {"m": {"iou": None, "n": 3}}}
    assert document["differences"] == []
    assert document["means"] == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "metrics.json"]
