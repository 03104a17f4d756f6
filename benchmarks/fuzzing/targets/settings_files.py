"""Targets: settings, prompts and boxes that people write, and what a run says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.fuzzing.mutation import mutate_json, mutate_yaml
from benchmarks.fuzzing.target import Mutate, Target
from benchmarks.fuzzing.text_mutation import mutate_csv
from benchmarks.fuzzing.whole_sets import SIZE
from samft.cli.configs import read_config, values_to_give
from samft.cli.zeroshot.text_task import read_texts
from samft.data.preprocessing import Preprocessing
from samft.data.prompt_files import read_prompts
from samft.evaluation.zero_shot.boxes import BoxIds, read_boxes
from samft.inference.formats.coco import CocoNumbers
from samft.inference.formats.dicom_codes import DicomCodes
from samft.prompts.protocol import PromptProtocol
from samft.run_data import data_changes
from samft.run_environment import (
    environment_changes,
    flat_settings,
    read_record,
    recorded_settings,
    settings_changes,
)

_IDS: Final = BoxIds(images={1: "a.png", "b.png": "b.png"}, categories={1: 0, "cell": 1})
_DATA: Final = {
    "class_path": "samft.MedicalDataModule",
    "init_args": {
        "root": "data", "window": [40, 400], "percentiles": [1, 99.5], "axis": "axial",
        "channels": [0, 2], "context_slices": 1, "enhancement": "clahe", "keep_depth": True,
    },
}  # fmt: skip


def targets() -> Sequence[Target]:
    """Return the targets of this file."""
    return (
        _target("config", "config.yaml", _config, _configs(), mutate_yaml),
        _target(
            "run_preprocessing", "config.yaml", Preprocessing.of_config, _configs(), mutate_yaml
        ),
        _target("dicom_codes", "codes.yaml", _codes, _code_files(), mutate_yaml),
        _target("coco_numbers", "coco.json", _numbers, _number_files(), mutate_json),
        _target("prompts_json", "prompts.json", _prompts, _prompt_files(), mutate_json),
        _target("prompts_csv", "prompts.csv", _prompts, _prompt_tables(), mutate_csv(",")),
        _target("detected_boxes", "boxes.json", _boxes, _box_files(), mutate_json),
        _target("texts", "texts.json", read_texts, _text_files(), mutate_json),
        _target("prompt_protocol", "protocol.json", _protocol, _protocols(), mutate_json),
        _target("data_record", "data.json", _data_record, _data_records(), mutate_json),
        _target("settings_record", "env.json", _environment, _environments(), mutate_json),
    )  # fmt: skip


def _target(
    name: str,
    file_name: str,
    read: Callable[[Path], object],
    seeds: Sequence[object],
    mutate: Mutate,
) -> Target:
    written = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in seeds]
    return Target(name, file_name, read, lambda _: written, mutate)


def _config(path: Path) -> None:
    content = read_config(path)
    list(values_to_give(content))
    flat_settings(content)


def _configs() -> Sequence[object]:
    model = {"class_path": "samft.SamModule", "init_args": {"arch": "vit_b", "weights": "???"}}
    shared = (
        b"model: &model\n  init_args: {arch: vit_b, lr: 1e-4}\ndata:\n  init_args:\n"
        b"    <<: *model\n    root: data\ntrainer: {max_epochs: 3, callbacks: [{a: 1}]}\n"
    )
    document = {"seed_everything": 0, "model": model, "data": _DATA}
    return [document, shared, b"# nothing\n", {"data": {"init_args": {"window": "zscore"}}}]


def _codes(path: Path) -> None:
    codes = DicomCodes.read(path)
    codes.of("liver")
    codes.of(None)


def _code_files() -> Sequence[object]:
    code = ["10200004", "SCT", "Liver"]
    short = (
        b"classes:\n  liver:\n    category: [49755003, SCT, Morphology]\n"
        b"    type: [4147007, SCT, Mass]\n"
    )
    both = {"category": ["123037004", "SCT", "Anatomical Structure"], "type": code}
    return [
        {"segmentation_type": "LABELMAP", "series_description": "x", "manufacturer": "y",
         "default": both, "classes": {"liver": both}},
        short,
    ]  # fmt: skip


def _numbers(path: Path) -> None:
    CocoNumbers.read(path).image("x/a.png")


def _number_files() -> Sequence[object]:
    return [
        {
            "images": [{"id": 1, "file_name": "a.png"}, {"id": "2", "file_name": "x/b.png"}],
            "categories": [{"id": 1, "name": "cell"}],
            "annotations": [],
        }
    ]


def _prompts(path: Path) -> object:
    return read_prompts(path, {"a.png": "a", "x/b.png": "b", "c.png": "c"}, _size)


def _size(name: str) -> tuple[int, int] | None:
    return None if name == "c" else SIZE


def _prompt_files() -> Sequence[object]:
    prompts: list[dict[str, Any]] = [
        {"box": [1, 1, 5.5, 6], "id": "x", "class": "cell"},
        {"points": [[2, 2], [3.5, 4]], "labels": [1, 0], "id": 7},
        {"box": [0, 0, 3, 3], "points": [[1, 1]]},
    ]
    return [{"a.png": prompts, "x\\b.png": prompts[:1]}, {"c.png": prompts[1:]}]


def _prompt_tables() -> Sequence[object]:
    boxes = "image,x1,y1,x2,y2,class\na.png,1,1,5,6,cell\nc.png,0,0,9,9,\n"
    points = "image,x,y,label,object\na.png,1,1,1,o\na.png,2,2,0,o\nx/b.png,3,3,,\n"
    both = "image,x1,y1,x2,y2,x,y,label,object\na.png,1,1,5,6,2,2,1,o\na.png,,,,,3,3,0,o\n"
    return [text.encode() for text in (boxes, points, both)]


def _boxes(path: Path) -> None:
    boxes = read_boxes(path, _IDS)
    for name in boxes.by_image:
        boxes.inside(name, SIZE)
    boxes.notes()


def _box_files() -> Sequence[object]:
    entry = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 4.5, 5], "score": 0.9}
    far = {"image_id": "b.png", "category_id": "cell", "bbox": [50, 50, 4, 5], "score": 1}
    return [[entry, far], [{**entry, "segmentation": {"counts": "x"}}]]


def _text_files() -> Sequence[object]:
    return [{"a.png": [{"text": "a cell", "objects": [1, 2]}], "b.png": []}]


def _protocol(path: Path) -> None:
    protocol = PromptProtocol.from_json(path.read_text("utf-8", errors="replace"))
    protocol.describe()
    for use in ("point", "box", "mask", "automatic"):
        protocol.warnings_for(use)


def _protocols() -> Sequence[object]:
    shares = {"box": 0.5, "point": 0.5}
    common = {"clicks": 8, "feeds_back": True}
    return [
        {"shares": shares, "multimask": "ambiguous", **common},
        {"shares": {"box+point": 1.0}, "multimask": "all", **common},
    ]


def _data_record(path: Path) -> object:
    return data_changes(read_record(path) or {}, None)


def _data_records() -> Sequence[object]:
    listing = {"a.png": [100, 17, "0" * 64], "b.png": [100, 18, None]}
    common = {"samples": 2, "ids": "1" * 64, "files": 2, "bytes": 200}
    splits = {"train": common | {"listing": listing}, "val": common | {"parts": ["0" * 16] * 256}}
    return [{"format": "samft-data", "version": 1, "splits": splits}]


def _environment(path: Path) -> None:
    record = read_record(path) or {}
    now = {"python": "3.11", "world_size": 1}
    environment_changes(record, now)
    settings_changes(recorded_settings(record, path.parent), {"trainer.max_epochs": 3})


def _environments() -> Sequence[object]:
    settings = {"trainer.max_epochs": 2, "model.arch": "vit_b", "data.channels": [0, 1]}
    record = {"python": "3.12", "world_size": 2, "command": ["samft", "fit"]}
    return [record | {"settings": settings, "resumed": [{"step": 4}]}, record]
