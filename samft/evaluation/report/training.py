"""What a training left behind: its losses, its scores, where its weights came from."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from samft.errors import DatasetError
from samft.evaluation.report.structure import Numbers
from samft.models.torch_file import read_torch_file

METRICS_TABLE: Final = "metrics.csv"
_LOSS: Final = "train/loss"
_VALIDATION: Final = "val/"
_ZERO_SHOT: Final = "zero_shot/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The history of a training.

    Args:
        losses: Mean training loss of each epoch.
        history: Scores of each validated epoch, by name without `val/`.
        zero_shot: The same scores before training.
    """

    losses: Mapping[int, float] = field(default_factory=dict)
    history: Mapping[int, Numbers] = field(default_factory=dict)
    zero_shot: Numbers = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:  # Any: JSON
        """Return the history as plain data, NaN as `None`."""
        return {
            "losses": [
                {"epoch": epoch, "loss": _plain(loss)} for epoch, loss in self.losses.items()
            ],
            "validation": [
                {"epoch": epoch, **_plain_all(scores)} for epoch, scores in self.history.items()
            ],
            "zero_shot": _plain_all(self.zero_shot),
        }

    def best_epoch(self) -> int | None:
        """Return the epoch of the highest validation IoU; `None` if none was validated."""
        known = {
            epoch: scores["iou"]
            for epoch, scores in self.history.items()
            if math.isfinite(scores.get("iou", math.nan))
        }
        return max(known, key=lambda epoch: known[epoch]) if known else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """What a checkpoint says of itself.

    Args:
        base: Name of the weights that training began with, or their file; empty if random.
        base_sha256: Hash of that file.
        settings: The model's hyper-parameters.
        epoch: Epoch it was saved in, from 0.
        steps: Optimiser steps taken.
    """

    base: str = ""
    base_sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)  # Any: plain data
    epoch: int | None = None
    steps: int | None = None


def read_training(folder: Path, checkpoint: Path) -> Training:
    """Read the history of a run: its `metrics.csv`, or else what a checkpoint remembers.

    Raises:
        DatasetError: if `metrics.csv` is not a table of a training.
        CheckpointError: if the checkpoint cannot be read.
    """
    table = folder / METRICS_TABLE
    if table.is_file():
        return _from_table(table)
    last = checkpoint.with_name("last.ckpt")
    return _from_checkpoint(last if last.is_file() else checkpoint)


def read_weights(checkpoint: Path) -> Weights:
    """Read what a checkpoint says of itself.

    Raises:
        CheckpointError: if it cannot be read.
    """
    content = _mapping(read_torch_file(checkpoint))
    base = _mapping(_mapping(content.get("samft")).get("base_weights"))
    return Weights(
        base=str(base.get("source") or base.get("name") or ""),
        base_sha256=str(base.get("sha256") or ""),
        settings=_mapping(content.get("hyper_parameters")),
        epoch=_whole(content.get("epoch")),
        steps=_whole(content.get("global_step")),
    )


def _from_table(path: Path) -> Training:
    losses: dict[int, list[float]] = defaultdict(list)
    history: dict[int, Numbers] = {}
    zero_shot: Numbers = {}
    for row in _rows(path):
        epoch = _whole(row.get("epoch"))
        zero_shot.update(_with_prefix(row, _ZERO_SHOT))
        if epoch is None:
            continue
        if _LOSS in row:
            losses[epoch].append(row[_LOSS])
        scores = _with_prefix(row, _VALIDATION)
        if scores:
            history.setdefault(epoch, {}).update(scores)
    means = {epoch: sum(values) / len(values) for epoch, values in sorted(losses.items())}
    return Training(losses=means, history=dict(sorted(history.items())), zero_shot=zero_shot)


def _rows(path: Path) -> Iterator[Numbers]:
    """Yield the numbers of each row of a table by column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "epoch" not in (reader.fieldnames or ()):
                raise DatasetError(
                    "this is not the table of a training",
                    where=path,
                    found=f"columns {', '.join(reader.fieldnames or ())[:80] or 'none'}",
                    expected="a column 'epoch', as Lightning's CSVLogger writes it",
                    fix="move the file away to make the report without it",
                )
            for row in reader:
                yield {name: value for name, value in _parsed(row) if not math.isnan(value)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            "the table of a training cannot be read",
            where=path,
            found=error,
            fix="move the file away to make the report without it",
        ) from error


def _parsed(row: Mapping[Any, Any]) -> Iterator[tuple[str, float]]:  # Any: as csv gives it
    for name, text in row.items():
        if isinstance(name, str) and isinstance(text, str):
            try:
                yield name, float(text)
            except ValueError:
                continue  # other loggers add words


def _from_checkpoint(path: Path) -> Training:
    content = _mapping(read_torch_file(path))
    extra = _mapping(content.get("samft"))
    curves = _mapping(_mapping(content.get("callbacks")).get("Curves"))
    history: dict[int, Numbers] = {}
    entries = extra.get("history")
    for entry in entries if isinstance(entries, list) else []:
        epoch = _whole(_mapping(entry).get("epoch"))
        if epoch is not None:
            history[epoch] = _with_prefix(entry, _VALIDATION)
    return Training(
        losses=dict(_epoch_losses(_mapping(curves.get("losses")))),
        history=history,
        zero_shot=_with_prefix(_mapping(extra.get("zero_shot")), _VALIDATION),
    )


def _epoch_losses(found: Mapping[Any, Any]) -> Iterator[tuple[int, float]]:
    # Any: plain data of a checkpoint
    for name, value in found.items():
        epoch = _whole(name)
        if epoch is not None and isinstance(value, int | float):
            yield epoch, float(value)


def _with_prefix(row: Mapping[Any, Any], prefix: str) -> Numbers:
    # Any: plain data of a checkpoint
    return {
        name[len(prefix) :]: float(value)
        for name, value in row.items()
        if isinstance(name, str) and name.startswith(prefix) and isinstance(value, int | float)
    }


def _mapping(value: object) -> dict[str, Any]:  # Any: plain data of a checkpoint
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain_all(scores: Numbers) -> dict[str, float | None]:
    return {name: _plain(value) for name, value in scores.items()}
