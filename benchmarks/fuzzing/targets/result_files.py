"""Targets: results that `samft report` and `samft ratings` read, until the page is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib import figure, ticker  # noqa: F401  (not while files are watched)

from benchmarks.fuzzing.mutation import mutate_json
from benchmarks.fuzzing.target import Mutate, Target
from benchmarks.fuzzing.text_mutation import mutate_csv
from benchmarks.fuzzing.whole_sets import png
from samft.evaluation.ratings.analysis import analyse
from samft.evaluation.ratings.jobs import Job, ObjectKey
from samft.evaluation.ratings.key import read_key
from samft.evaluation.ratings.reading import read_sheets
from samft.evaluation.ratings.tabulating import markdown
from samft.evaluation.report.building import compose
from samft.evaluation.report.case_table import Column, read_cases
from samft.evaluation.report.markdown import markdown_page
from samft.evaluation.report.privacy import Privacy
from samft.evaluation.report.results import read_results
from samft.evaluation.report.sources import DATA_FILE, ENVIRONMENT_FILE, Place, Sources
from samft.evaluation.report.sources import _object as read_object
from samft.evaluation.report.training import read_training

_JOBS: Final = {
    f"j000{number}": Job(
        code=f"j000{number}",
        model="ab"[number % 2],
        target=ObjectKey(
            data="set", sample_id=f"i{number // 2}", case_id=f"i{number // 2}", object_id=1,
            class_name="cell",
        ),
        raters=(1, 2),
    )
    for number in range(4)
}  # fmt: skip
_SCORES: Final = {"iou": 0.8, "dice": 0.9, "num_objects": 4, "hd95": 2.5}


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    cases = ["model,prompt,sample_id,num_objects,dice\nt,box,a,2,0.5\nz,box,'=b,,nan\n"]
    objects = ["model,prompt,sample_id,object_id,iou\nt,box,a,1,0.5\nt,box,a,2,\n"]
    losses = ["epoch,step,train/loss,val/iou\n0,1,0.5,\n0,2,0.4,0.7\n,2,,\n1,3,0.3,0.8\n",
              "epoch,zero_shot/iou,note\n,0.5,x\n0,,y\n"]  # fmt: skip
    head = "job,model,data,sample_id,case_id,object_id,class_name,raters\n"
    key = [f"{head}j1,a,s,x,c,1,k,1 2\nj2,b,s,x,c,1,k,1\n",
           "sep=;\njob;model;sample_id;object_id\nj1;a;x;1\n"]  # fmt: skip
    sheet = ["job,rating,comment\nj0001,7,\nj0002,8.5,good\nj0003,,\n",
             "job;rating\nj0000;7,0\nJ0001;10\n"]  # fmt: skip
    return (
        Target(
            "test_metrics",
            "metrics.json",
            _report,
            _metrics,
            mutate_json,
            around={"gallery/a.png": png(), "images.csv": cases[0].encode()},
        ),
        _table("test_images", "images.csv", _cases, cases),
        _table("test_objects", "objects.csv", _cases, objects),
        _table("training_table", "metrics.csv", _training, losses),
        _table("rating_key", "key.csv", read_key, key),
        _table("rating_sheet", "anna.csv", _sheet, sheet),
        Target("report_environment", ENVIRONMENT_FILE, _environment, _records, mutate_json),
        Target("report_data", DATA_FILE, _data, _records, mutate_json),
    )


def _table(
    name: str, file_name: str, read: Callable[[Path], object], seeds: Sequence[str]
) -> Target:
    mutate: Mutate = mutate_csv(",")
    return Target(name, file_name, read, lambda _: [seed.encode() for seed in seeds], mutate)


def _report(path: Path) -> None:
    folder, privacy = path.parent, Privacy(None)
    read_results(folder, Privacy(None, keep_names=True))
    results = read_results(folder, privacy)
    parts = {"results": results, "environment": results.content["environment"]}
    place = Place(folder=folder, results=folder)
    markdown_page(compose(Sources(place=place, privacy=privacy, label="x", **parts)))


def _metrics(_: Path) -> Sequence[bytes]:
    by_model = {"t": _SCORES, "z": {**_SCORES, "iou": 0.6}}
    clicks = {"iou": [0.5, 0.7], "click_auc": 0.6, "noc_85": 3.0, "failed_85": 1}
    difference = {
        "prompt": "box", "score": "iou", "model": "t", "reference": "z", "mean": 0.2, "low": 0.1,
        "high": 0.3, "level": 0.95, "better": 3, "worse": 1, "equal": 0, "left_out": 0,
        "num_groups": 4, "clear": True,
    }  # fmt: skip
    bins = [{"low": 0.0, "high": 1.0, "count": 4, "predicted": 0.7, "true": 0.8}]
    content: dict[str, Any] = {
        "format": "samft-test", "version": 1, "samft": "0.1", "created": "2026-01-01T00:00:00",
        "split": "test", "reference": "z", "unit": "px",
        "data": {"root": "/home/me/data", "images": 2, "cases": 2, "objects": 4,
                 "classes": ["cell"], "sha256": "0" * 64},
        "environment": {"python": "3.11", "packages": {"torch": "2"}}, "settings": {"seed": 0},
        "models": [{"name": "t", "kind": "sam", "prompts": ["box", "point1"], "seconds": 1.5},
                   {"name": "z", "kind": "sam", "prompts": ["box", "point1"], "seconds": 1}],
        "scores": {"box": by_model, "point1": by_model},
        "by_class": {"box": {"cell": by_model}},
        "by_size": {"coco": [{"label": "small", "low": 0, "high": 9, "num_objects": 4,
                             "scores": {"box": by_model}}]},
        "clicks": {"t": clicks, "z": clicks}, "differences": [difference],
        "images": {"box": {"cell": by_model}}, "instances": by_model,
        "calibration": {"box": {"t": {"iou_ece": 0.1, "iou_mae": 0.1, "bins": bins}}},
        "empty": {"box": by_model},
        "gallery": [{"picture": "gallery/a.png", "kind": "worst", "sample_id": "a",
                     "class_name": "cell", "object_id": 1, "prompt": "box", "iou": {"t": 0.5}}],
    }  # fmt: skip
    few = {"format": "samft-test", "version": 1, "models": [{"name": "t", "kind": "sam"}]}
    return [json.dumps(document).encode() for document in (content, few)]


def _cases(path: Path) -> None:
    found = read_cases(path, [Column("box", "t"), Column("box", "zero")], labels={"z": "zero"})
    for case in found.values():
        case.mean(Column("box", "t"))


def _training(path: Path) -> None:
    training = read_training(path.parent, path.with_name("none.ckpt"))
    training.best_epoch()
    training.to_json()


def _sheet(path: Path) -> None:
    markdown(analyse(_JOBS, read_sheets([path], _JOBS), samples=8))


def _environment(path: Path) -> None:
    _made(path, environment=read_object(path, "the environment of a run"))


def _data(path: Path) -> None:
    _made(path, data=read_object(path, "the data of a run"))


def _made(path: Path, **parts: Any) -> None:  # Any: parts of `Sources`
    privacy = Privacy(None, keep_names=False)
    cleaned = {name: privacy.clean(content) for name, content in parts.items()}
    place = Place(folder=path.parent)
    markdown_page(compose(Sources(place=place, privacy=privacy, label="x", **cleaned)))


def _records(_: Path) -> Sequence[bytes]:
    listing = {"a.png": [100, 17, "0" * 64]}
    documents = (
        {"splits": {"train": {"samples": 1, "files": 1, "bytes": 100, "listing": listing}}},
        {"python": "3.11", "settings": {"data.root": "/home/me/x"}, "command": ["samft", "fit"]},
        ["a.png", "b.png"],
    )
    return [json.dumps(document).encode() for document in documents]
